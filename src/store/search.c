/* What a person typed into a search box, as an FTS5 query that can only mean "these words".
 *
 * Every word becomes a quoted string, so that FTS5's own syntax (AND, NEAR, *, ^, column:) has no
 * effect; the last one matches as a prefix, because people search while they type. The words are
 * cut by FTS5's own tokenizer: a word in which it finds nothing ("!!!", an emoji) is left out,
 * since FTS5 drops empty strings and a query of nothing but those would match everything. */
#include "store/store_internal.h"

#include "base/buf.h"

#define MAX_WORDS 16   /* more are not looked at */
#define MAX_TYPED 1024 /* bytes; the rest is cut */

/* FTS5 hands out its interface through a pointer bound to a query (sqlite.org/fts5.html, section
 * 7). */
static enum err tokenizer_find(struct conn *c) {
    static const char *args[] = {"remove_diacritics", "2"};
    fts5_api *api = NULL;
    void *context = NULL;
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(c->db, "SELECT fts5(?1)", -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_pointer(st, 1, &api, "fts5_api_ptr", NULL);
    if (rc == SQLITE_OK)
        (void)sqlite3_step(st);
    enum err e = conn_err(c, sqlite3_finalize(st));
    if (e)
        return e;
    if (!api || api->xFindTokenizer(api, "unicode61", &context, &c->tokenizer) != SQLITE_OK ||
        c->tokenizer.xCreate(context, args, 2, &c->words) != SQLITE_OK) {
        c->words = NULL;
        return ERR_INTERNAL;
    }
    return ERR_OK;
}

static int note_token(void *arg, int flags, const char *token, int n, int start, int end) {
    (void)flags, (void)token, (void)n, (void)start, (void)end;
    *(bool *)arg = true;
    return SQLITE_DONE; /* one is enough */
}

static bool has_token(struct conn *c, struct str word) {
    bool found = false;
    (void)c->tokenizer.xTokenize(c->words, &found, FTS5_TOKENIZE_QUERY, word.p, (int)word.n,
                                 note_token);
    return found;
}

static bool is_space(char ch) {
    return ch == ' ' || (ch >= '\t' && ch <= '\r');
}

static struct str next_word(struct str *rest) {
    while (rest->n && is_space(rest->p[0]))
        *rest = (struct str){rest->p + 1, rest->n - 1};
    size_t n = 0;
    while (n < rest->n && !is_space(rest->p[n]))
        n++;
    struct str word = {rest->p, n};
    *rest = (struct str){rest->p + n, rest->n - n};
    return word;
}

static void add_quoted(struct buf *b, struct str word) {
    buf_addc(b, '"');
    for (size_t i = 0; i < word.n; i++) {
        if (word.p[i] == '"')
            buf_addc(b, '"');
        buf_addc(b, word.p[i]);
    }
    buf_addc(b, '"');
}

static void add_owner(struct buf *b, const struct uuid *owner) {
    buf_addz(b, "owner : \"");
    for (size_t i = 0; i < UUID_LEN; i++)
        if (owner->s[i] != '-')
            buf_addc(b, owner->s[i]);
    buf_addz(b, "\" AND ");
}

enum err fts_query(struct conn *c, struct str typed, const struct uuid *owner, const char *column,
                   struct arena *a, struct str *ret, bool *ret_empty) {
    if (!utf8_valid(typed) || (typed.n && memchr(typed.p, 0, typed.n)))
        return ERR_INVALID;
    enum err e = c->words ? ERR_OK : tokenizer_find(c);
    if (e)
        return e;
    typed.n = utf8_cut(typed, MAX_TYPED);
    struct buf b;
    buf_init(&b, 4 * MAX_TYPED);
    add_owner(&b, owner);
    buf_addz(&b, column);
    buf_addz(&b, " : (");
    int words = 0;
    for (struct str word; words < MAX_WORDS && (word = next_word(&typed)).n;) {
        if (!has_token(c, word))
            continue;
        if (words++)
            buf_addz(&b, " AND ");
        add_quoted(&b, word);
    }
    buf_addz(&b, " *)");
    e = buf_err(&b);
    struct str copy = e ? STR_NULL : arena_str(a, buf_str(&b));
    buf_deinit(&b);
    if (e || !copy.p)
        return e ? e : ERR_NOMEM;
    *ret = copy;
    *ret_empty = words == 0;
    return ERR_OK;
}
