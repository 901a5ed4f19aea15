/* The table of options and what makes a value of each kind right. To add an option, add a field to
 * struct config and a row here. */
#include "config/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "config/nearest.h"

static bool port_ok(struct str s) {
    uint64_t port;
    return str_to_u64(s, &port) && port <= 65535;
}

static bool listen_ok(struct str s) {
    if (str_starts(s, STR("unix:")))
        return s.n > 5 && s.n - 5 < sizeof(((struct sockaddr_un *)0)->sun_path);
    size_t colon = s.n;
    while (colon > 0 && s.p[colon - 1] != ':')
        colon--;
    if (colon < 2 || !port_ok(str_sub(s, colon, s.n)))
        return false;
    struct str host = str_sub(s, 0, colon - 1);
    if (host.p[0] == '[')
        return host.n > 2 && host.p[host.n - 1] == ']';
    return memchr(host.p, ':', host.n) == NULL && memchr(host.p, ' ', host.n) == NULL;
}

static bool one_url_ok(struct str s) {
    struct str rest = s;
    if (str_starts(s, STR("http://")))
        rest = str_sub(s, 7, s.n);
    else if (str_starts(s, STR("https://")))
        rest = str_sub(s, 8, s.n);
    else
        return false;
    for (size_t i = 0; i < rest.n; i++)
        if ((unsigned char)rest.p[i] <= ' ' || rest.p[i] == '?' || rest.p[i] == '#')
            return false;
    return rest.n > 0 && rest.p[0] != '/' && rest.p[0] != ':';
}

/* Addresses with commas between them, or a file. */
static bool url_ok(struct str s) {
    if (s.n == 0 || (s.p[0] == '/' && s.n > 1))
        return true;
    while (s.n)
        if (!one_url_ok(str_trim(str_cut(&s, ','))))
            return false;
    return true;
}

static const char *const words_signup[] = {"closed", "open", NULL};
static const char *const words_level[] = {"debug", "info", "warn", "error", NULL};
static const char *const words_format[] = {"auto", "json", "text", NULL};
static const char *const words_guard[] = {"off", "degraded", "on", NULL};
static const char *const words_guard_early[] = {"engine", "always", "never", NULL};
static const char *const words_guard_format[] = {"llama-guard", "shieldgemma", "granite-guardian",
                                                 NULL};
static const char *const words_fallback[] = {"allow", "block", NULL};
static const char *const words_switch[] = {"off", "on", NULL};

/* Rows: TEXT(key, standard, check, allowed, help), INT(key, standard, min, max, help), … */
#define AT(field) offsetof(struct config, field)
#define TEXT(f, std, chk, al, h)                                                                   \
    .key = #f, .kind = OPTION_TEXT, .offset = AT(f), .standard = std, .check = chk, .allowed = al, \
    .help = h
#define PATH(f, std, h)                                                                            \
    .key = #f, .kind = OPTION_PATH, .offset = AT(f), .standard = std, .allowed = "a path", .help = h
#define MODEL(f, h)                                                                                \
    .key = #f, .kind = OPTION_MODEL, .offset = AT(f), .standard = "",                              \
    .allowed = "a model's name or FILE.gguf", .help = h
#define INT(f, std, lo, hi, h)                                                                     \
    .key = #f, .kind = OPTION_INT, .offset = AT(f), .standard = std, .min = lo, .max = hi, .help = h
#define WORD(f, std, w, h)                                                                         \
    .key = #f, .kind = OPTION_WORD, .offset = AT(f), .standard = std, .words = w, .help = h

/* clang-format off */
const struct option options[] = {
    {.section = "Where it is",
     TEXT(listen, "127.0.0.1:8080", listen_ok, "HOST:PORT, [IPV6]:PORT or unix:/path",
          "The address of the page and the API. Only this machine reaches 127.0.0.1; put a TLS proxy in front before you open it to others.")},
    {INT(port, "0", 0, 65535, "Another port for listen, when only that is to change. 0 = as listen says.")},
    {PATH(data_dir, "", "The folder for the database and all else that lasts. Default: ~/.local/share/parley.")},
    {PATH(models_dir, "", "The folder for the models' weights. Default: ~/.cache/parley/models.")},

    {.section = "The model",
     MODEL(model, "The chat model: a name that `parley model list` shows, or a GGUF file. Default: chosen by this machine's memory.")},
    {MODEL(embedding_model, "The embedding model, in the same way; none = do without. Default: the catalogue's.")},
    {INT(context, "0", 0, 1048576, "Tokens of one conversation's window. 0 = as the model allows, at most 4096.")},
    {INT(slots, "0", 0, 64, "Answers written at the same time. 0 = by the machine's memory.")},
    {INT(engine_threads, "0", 0, 1024, "Threads that compute. 0 = all cores.")},
    {INT(engine_deadline_ms, "1000", 0, 3600000, "Milliseconds to the first word of an API request that states no parley.deadline_ms; what would come later gets 429 at once. 0 = none.")},
    {INT(engine_keep_mib, "256", 0, 65536, "Memory in /dev/shm, in MiB, where what was computed of running conversations is kept for the engine that comes after a killed one: it goes on without reading them again. It is removed at the end. 0 = none.")},
    {INT(engine_max_queued, "256", 1, 65536, "Requests that may wait for a slot; past it the engine answers 429.")},

    {.section = "Another model server instead of the engine",
     TEXT(upstream, "", url_ok, "http://HOST:PORT/v1 or https://…, several with commas between them, or /the/path/of/a.json",
          "The base address of an OpenAI-compatible server (vLLM, llama-server, Ollama, `parley engine`, a cloud API), or of several, or a file that lists them (docs/upstreams.md). When it is set, no engine is started.")},
    {PATH(upstream_key_file, "", "A file whose first line is the key for it. The environment's PARLEY_UPSTREAM_KEY goes before it.")},
    {TEXT(upstream_key, "", NULL, "the key itself, in the environment only", "The key for the model server; only as PARLEY_UPSTREAM_KEY."), .flags = OPTION_SECRET},
    {TEXT(upstream_model, "", NULL, "a model's name", "The name of its model to use. Default: the first that it lists.")},

    {.section = "Accounts",
     WORD(signup, "open", words_signup, "open: anyone who reaches the page may make an account; closed: administrators make them.")},
    {INT(session_days, "30", 1, 3650, "Days after which a browser must sign in again.")},
    {WORD(secure_cookies, "off", words_switch, "on when people reach Parley by https (a TLS proxy in front): cookies then travel over TLS only.")},

    {.section = "Running",
     INT(loops, "0", 0, 256, "Event loops (threads) of the server. 0 = one for each core.")},
    {INT(max_body_bytes, "1048576", 65536, 1073741824, "The largest request body in bytes.")},
    {INT(max_document_bytes, "33554432", 1048576, 268435456, "The largest file that a document is made of, in bytes. Default: 32 MiB.")},
    {INT(max_user_documents, "0", 0, 1000000000, "How many documents one user may keep; shared ones and those of roles do not count. 0 = any number.")},
    {INT(max_user_document_bytes, "0", 0, 1099511627776, "The bytes of all of them together. 0 = any number.")},
    {INT(source_delay_ms, "1000", 1, 600000, "Milliseconds between two requests of sources to the same host; its robots.txt may ask for more.")},
    {INT(max_running, "10000", 1, 1000000, "Answers in progress at once, over all users; past it requests get 429.")},
    {INT(max_running_per_user, "8", 1, 10000, "The same for one user.")},
    {INT(embedding_wait_ms, "500", 10, 60000, "How long an answer waits for the embedding of its question, which the guard and the search read; a search by itself waits half as long. What is not there by then is done without.")},
    {INT(search_wait_ms, "700", 10, 60000, "How long an answer waits for search services.")},
    {WORD(degrade, "on", words_switch, "Whether less is done for an answer as load grows, in this order, and said so: no background work, fewer passages, the fallback model, approved answers only.")},
    {TEXT(fallback_model, "", NULL, "a model's name, or nothing", "A smaller model that answers instead of a role's own when there is too much to do; it must be one that a model server has.")},
    {INT(keep_stream_seconds, "60", 0, 86400, "How long the events of a finished answer are kept for a page that comes back.")},
    {INT(backup_hours, "24", 0, 8760, "Hours between backups of the database into backups/ of the data directory; each is restored once for a trial. 0 = none.")},
    {INT(backup_keep, "7", 1, 900, "How many of those backups are kept.")},
    {WORD(titles, "on", words_switch, "Whether the model makes titles for conversations; off = their first words.")},

    {INT(watchdog_seconds, "5", 0, 3600, "A server that lives but gives no sign for so long is replaced (the engine: four times as long). 0 = never.")},
    {INT(server_memory_mib, "0", 0, 1048576, "Private memory past which the server is stopped in order and started again. 0 = no limit.")},
    {INT(engine_memory_mib, "0", 0, 1048576, "The same for the engine.")},

    {.section = "Safety",
     WORD(guard, "on", words_guard, "on: what is unsafe is stopped, and Parley does not serve when the guard's data are damaged; degraded: it then serves with what there is; off: nothing is checked.")},
    {WORD(guard_early, "engine", words_guard_early, "Whether the model may begin with an answer before the last verdict on the question is there (nothing of it is seen or stored before): engine: only Parley's own engine, whose work costs nothing; always: paid model servers, too; never.")},
    {PATH(guard_policy, "", "A policy file (docs/safety.md). Default: the built-in policy. One that was published on the page goes before both.")},
    {PATH(guard_classifier, "", "A model file of the guard's classifier (tools/safety/train.py). Default: the built-in one.")},
    {TEXT(guard_upstream, "", url_ok, "http://HOST:PORT/v1 or https://…, or nothing", "An OpenAI-compatible server with a guard model that is asked when the guard is uncertain about a question, or about an answer that is not streamed (docs/safety.md). Default: none.")},
    {TEXT(guard_model, "", NULL, "a model's name", "The guard model's name there. Default: the first that it lists.")},
    {WORD(guard_format, "llama-guard", words_guard_format, "How that model is asked and answers.")},
    {INT(guard_timeout_ms, "1500", 50, 60000, "How long its answer is waited for.")},
    {WORD(guard_fallback, "allow", words_fallback, "What happens to an uncertain message or answer when it does not answer in time.")},

    {.section = "Traces",
     TEXT(otlp_endpoint, "", url_ok, "http://HOST:4318/v1/traces, or nothing",
          "An OTLP/HTTP collector that gets the times of every answer (never its words). Off by default.")},

    {.section = "Log",
     WORD(log_level, "info", words_level, "The least level that is logged. Messages' contents are never logged.")},
    {WORD(log_format, "auto", words_format, "json: one object a line; text: one plain line; auto: text on a terminal, else json.")},
};
/* clang-format on */
const size_t options_count = sizeof(options) / sizeof(options[0]);
_Static_assert(sizeof(options) / sizeof(options[0]) <= OPTIONS_MAX, "raise OPTIONS_MAX");

static bool key_eq(struct str typed, const char *key) {
    size_t n = strlen(key);
    if (typed.n != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((typed.p[i] == '-' ? '_' : typed.p[i]) != key[i])
            return false;
    return true;
}

const struct option *option_find(struct str key) {
    for (size_t i = 0; i < options_count; i++)
        if (key_eq(key, options[i].key))
            return &options[i];
    return NULL;
}

/* "parley.conf:3: " or "PARLEY_LISTEN: " or "--listen: ". */
static void say_where(const struct option *o, const struct origin *from, char *out, size_t size) {
    size_t at = 0;
    switch (from->source) {
    case CONFIG_FILE:
        snprintf(out, size, "%s:%d: ", from->file, from->line);
        return;
    case CONFIG_ENV:
        at = (size_t)snprintf(out, size, "PARLEY_%s: ", o->key);
        for (size_t i = 7; i < at && i < size && out[i]; i++)
            if (out[i] >= 'a' && out[i] <= 'z')
                out[i] = (char)(out[i] - 'a' + 'A');
        return;
    case CONFIG_FLAG:
        at = (size_t)snprintf(out, size, "--%s: ", o->key);
        for (size_t i = 0; i < at && i < size && out[i]; i++)
            if (out[i] == '_')
                out[i] = '-';
        return;
    case CONFIG_DEFAULT:
        snprintf(out, size, "%s: ", o->key);
        return;
    }
}

static enum err refuse(const struct option *o, const struct origin *from, struct str value,
                       struct errinfo *ei) {
    char where[300];
    say_where(o, from, where, sizeof where);
    struct str shown = {value.p, utf8_cut(value, 80)};
    if (o->flags & OPTION_SECRET || !utf8_valid(shown))
        shown = STR("…");
    if (o->kind == OPTION_INT)
        return err_param(ei, ERR_INVALID, o->key,
                         "%s%s cannot be \"%.*s\": allowed is a whole number from %lld to %lld",
                         where, o->key, STR_ARG(shown), (long long)o->min, (long long)o->max);
    if (o->kind != OPTION_WORD)
        return err_param(ei, ERR_INVALID, o->key, "%s%s cannot be \"%.*s\": allowed is %s", where,
                         o->key, STR_ARG(shown), o->allowed);
    char list[128] = "";
    for (size_t i = 0, n = 0; o->words[i] && n < sizeof list; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", o->words[i]);
    return err_param(ei, ERR_INVALID, o->key, "%s%s cannot be \"%.*s\": allowed is one of %s",
                     where, o->key, STR_ARG(shown), list);
}

static const char *make_path(struct str value, const char *base, struct arena *a) {
    const char *home = getenv("HOME");
    if (home && str_starts(value, STR("~/")))
        return arena_printf(a, "%s/%.*s", home, (int)(value.n - 2), value.p + 2);
    if (base && value.n && value.p[0] != '/')
        return arena_printf(a, "%s/%.*s", base, STR_ARG(value));
    return arena_strz(a, value);
}

static bool text_ok(const struct option *o, struct str value) {
    if (!utf8_valid(value))
        return false;
    for (size_t i = 0; i < value.n; i++) /* control characters have no place in any of them */
        if ((unsigned char)value.p[i] < 0x20 || value.p[i] == 0x7f)
            return false;
    return !o->check || o->check(value);
}

enum err option_set(struct config *c, const struct option *o, struct str value,
                    const struct origin *from, const char *base, struct arena *a,
                    struct errinfo *ei) {
    void *field = (char *)c + o->offset;
    if (o->kind == OPTION_INT) {
        int64_t n;
        if (!str_to_i64(value, &n) || n < o->min || n > o->max)
            return refuse(o, from, value, ei);
        *(int64_t *)field = n;
        return ERR_OK;
    }
    if (o->kind == OPTION_WORD) {
        for (size_t i = 0; o->words[i]; i++) {
            if (str_eqz(value, o->words[i])) {
                *(int64_t *)field = (int64_t)i;
                return ERR_OK;
            }
        }
        return refuse(o, from, value, ei);
    }
    if (!text_ok(o, value))
        return refuse(o, from, value, ei);
    bool path =
        o->kind == OPTION_PATH || (o->kind == OPTION_MODEL && str_ends(value, STR(".gguf")));
    const char *text = path ? make_path(value, base, a) : arena_strz(a, value);
    if (!text)
        return err_set(ei, ERR_NOMEM, NULL);
    *(const char **)field = text;
    return ERR_OK;
}

void option_show(const struct config *c, const struct option *o, struct buf *b) {
    const void *field = (const char *)c + o->offset;
    if (o->kind == OPTION_INT)
        buf_addf(b, "%lld", (long long)*(const int64_t *)field);
    else if (o->kind == OPTION_WORD)
        buf_addz(b, o->words[*(const int64_t *)field]);
    else
        buf_addz(b, *(const char *const *)field);
}

const char *config_option_key(struct str flag) {
    const struct option *o = option_find(flag);
    return o && !(o->flags & OPTION_SECRET) ? o->key : NULL;
}

static void join_words(const char *const *words, char *out, size_t size) {
    size_t n = 0;
    out[0] = 0;
    for (size_t i = 0; words[i] && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", i ? "|" : "", words[i]);
}

void config_each_flag(void (*fn)(void *ctx, const struct config_help *h), void *ctx) {
    static const char *const placeholders[] = {"TEXT", "PATH", "NAME|FILE", "N"};
    for (size_t i = 0; i < options_count; i++) {
        const struct option *o = &options[i];
        char words[80];
        if (o->kind == OPTION_WORD)
            join_words(o->words, words, sizeof words);
        bool told = strstr(o->help, "efault:") || strstr(o->help, " by default") ||
                    (strcmp(o->standard, "0") == 0 && strstr(o->help, "0 = "));
        struct config_help h = {.key = o->key,
                                .value = o->kind == OPTION_WORD ? words : placeholders[o->kind],
                                .standard = told ? "" : o->standard,
                                .help = o->help};
        if (!(o->flags & OPTION_SECRET))
            fn(ctx, &h);
    }
}
