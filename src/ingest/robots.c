/* The rules of a host, read anew for each question: files are small and questions few. */
#include "ingest/robots.h"

struct walk {
    struct str rest;
    bool in_agents;    /* the lines before were User-agent lines */
    bool ours, for_us; /* the group is for us by name; for all */
    bool named;        /* some group names us: those for all do not count then */
};

static bool next_rule(struct walk *w, struct str *key, struct str *value) {
    while (w->rest.n) {
        struct str line = str_cut(&w->rest, '\n');
        const char *hash = line.n ? memchr(line.p, '#', line.n) : NULL;
        if (hash)
            line.n = (size_t)(hash - line.p);
        *value = line;
        *key = str_trim(str_cut(value, ':'));
        if (!value->p)
            continue;
        *value = str_trim(*value);
        return true;
    }
    return false;
}

static bool is_agent(struct str key) {
    return str_eq_nocase(key, STR("user-agent"));
}

/* "Parley/1.0" means us, too: the product token is what counts. */
static bool is_us(struct str value) {
    size_t n = strlen(ROBOTS_AGENT);
    return str_eq_nocase(str_sub(value, 0, n), STR(ROBOTS_AGENT)) &&
           (value.n == n || !((value.p[n] | 0x20) >= 'a' && (value.p[n] | 0x20) <= 'z'));
}

static bool names_us(struct str text) {
    struct walk w = {.rest = text};
    struct str key, value;
    while (next_rule(&w, &key, &value))
        if (is_agent(key) && is_us(value))
            return true;
    return false;
}

/* Moves over User-agent lines; true for a rule of a group that counts. */
static bool counts(struct walk *w, struct str key, struct str value) {
    if (!is_agent(key)) {
        w->in_agents = false;
        return w->named ? w->ours : w->for_us;
    }
    if (!w->in_agents)
        w->ours = w->for_us = false;
    w->in_agents = true;
    w->ours = w->ours || is_us(value);
    w->for_us = w->for_us || str_eqz(value, "*");
    return false;
}

/* A pattern with '*' for anything and '$' for the end, from the path's start. No recursion: after a
 * star the shortest match is tried first, and the last star is where it goes on from. */
static bool matches(struct str pattern, struct str path) {
    bool anchored = pattern.n && pattern.p[pattern.n - 1] == '$';
    if (anchored)
        pattern.n--;
    size_t p = 0, s = 0, star = SIZE_MAX, from = 0;
    while (s < path.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            from = s;
        } else if (p < pattern.n && pattern.p[p] == path.p[s]) {
            p++;
            s++;
        } else if (p == pattern.n && !anchored) {
            return true;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            s = ++from;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

bool robots_allow(struct str text, struct str path) {
    struct walk w = {.rest = str_sub(text, 0, ROBOTS_BYTES_MAX), .named = names_us(text)};
    struct str key, value;
    size_t best = 0;
    bool allowed = true;
    if (str_eqz(path, "/robots.txt"))
        return true;
    while (next_rule(&w, &key, &value)) {
        bool allow = str_eq_nocase(key, STR("allow"));
        if (!counts(&w, key, value) || (!allow && !str_eq_nocase(key, STR("disallow"))))
            continue;
        if (value.n == 0 || value.n < best || !matches(value, path))
            continue;
        allowed = value.n == best ? allowed || allow : allow;
        best = value.n;
    }
    return allowed;
}

int64_t robots_delay_ms(struct str text) {
    struct walk w = {.rest = str_sub(text, 0, ROBOTS_BYTES_MAX), .named = names_us(text)};
    struct str key, value;
    double seconds;
    int64_t ms = 0;
    while (next_rule(&w, &key, &value))
        if (counts(&w, key, value) && str_eq_nocase(key, STR("crawl-delay")) &&
            str_to_double(value, &seconds) && seconds > 0)
            ms = seconds * 1000 > ROBOTS_DELAY_MAX_MS ? ROBOTS_DELAY_MAX_MS
                                                      : (int64_t)(seconds * 1000);
    return ms;
}
