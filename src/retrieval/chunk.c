/* The chunker: blocks (headings, paragraphs, tables, code) in order, packed into chunks.
 *
 *   text + marks → next_block() → add_block() → fits: grow the open chunk
 *                                             → does not: close it; a block that is too long by
 *                                               itself goes through split_block()
 *
 * The open chunk is a range; only white space and small sections' headings stand between what was
 * added to it. */
#include "retrieval/chunk.h"

#include <stdlib.h>

#include "text/language.h"
#include "text/sentences.h"

#define MAX_TOKENS_DEFAULT 200
#define LEVELS             6
#define PATH_SEPARATOR     " \xe2\x80\xba " /* › */
#define HEADING_BYTES_MAX  200

enum block_kind { BLOCK_TEXT, BLOCK_TABLE, BLOCK_CODE, BLOCK_HEADING };

struct block {
    enum block_kind kind;
    size_t from, to;
    const struct doc_mark *mark; /* NULL for text */
};

struct path {
    const struct doc_mark *at[LEVELS + 1]; /* by level; NULL = no heading of that level */
};

struct chunker {
    const struct doc_text *doc;
    struct chunk_options o;
    struct arena *arena;
    struct sentences *sentences;
    size_t at, mark; /* next_block(): position, next mark that is no page */
    size_t page;     /* index of the mark of the newest page looked up */
    size_t counted_bytes, counted_chars;
    struct path path;            /* of the section that is being read */
    const struct doc_mark *bare; /* a heading below which nothing stood yet */
    /* the open chunk */
    bool open;
    size_t from, to;
    int tokens;
    int budget; /* max_tokens without what is put in front */
    enum block_kind kind;
    bool mixed;
    struct path open_path;
    struct chunk *chunks; /* owned while growing */
    size_t n, size;
    enum err err;
};

/* ---- counting ---- */

static bool is_word_byte(unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

/* Where 3-byte UTF-8 holds Chinese, Japanese and Korean: U+3000 to U+D7FF. */
static bool is_cjk_lead(unsigned char c) {
    return c >= 0xe3 && c <= 0xed;
}

/* A word of up to 8 letters is one piece, each further 5 letters are another; of numbers 3 digits
 * are one; each mark is one. Fitted to the vocabulary of all-MiniLM-L6-v2. */
static int word_pieces(struct str w) {
    size_t digits = 0, wide = 0;
    for (size_t i = 0; i < w.n; i++) {
        digits += w.p[i] >= '0' && w.p[i] <= '9';
        wide += (unsigned char)w.p[i] >= 0x80;
    }
    if (digits * 2 > w.n)
        return (int)((w.n + 2) / 3);
    size_t letters = w.n - wide / 2;
    if (wide * 2 > w.n)
        return (int)((letters + 1) / 2); /* not Latin: pieces of two letters */
    return letters <= 8 ? 1 : (int)(1 + (letters - 8 + 4) / 5);
}

int chunk_estimate(struct str text) {
    int64_t n = 0;
    size_t i = 0;
    while (i < text.n) {
        unsigned char c = (unsigned char)text.p[i];
        if (is_cjk_lead(c)) {
            n++;
            i += 3;
        } else if (is_word_byte(c)) {
            size_t from = i;
            while (i < text.n && is_word_byte((unsigned char)text.p[i]) &&
                   !is_cjk_lead((unsigned char)text.p[i]))
                i++;
            n += word_pieces(str_sub(text, from, i - from));
        } else {
            n += c > ' ' && c != 0x7f;
            i++;
        }
    }
    return n > INT32_MAX ? INT32_MAX : (int)n;
}

static int count(struct chunker *k, struct str s) {
    return k->o.count ? k->o.count(k->o.ctx, s) : chunk_estimate(s);
}

static struct str slice(const struct chunker *k, size_t from, size_t to) {
    return (struct str){k->doc->text.p + from, to - from};
}

/* ---- the path ---- */

static struct str heading_text(const struct doc_text *doc, const struct doc_mark *m) {
    struct str s = str_trim((struct str){doc->text.p + m->from, m->to - m->from});
    return str_sub(s, 0, utf8_cut(s, HEADING_BYTES_MAX));
}

static void path_enter(struct path *p, const struct doc_mark *m) {
    p->at[m->value] = m;
    for (int i = m->value + 1; i <= LEVELS; i++)
        p->at[i] = NULL;
}

/* Keeps of p what both have in common. */
static void path_common(struct path *p, const struct path *other) {
    int i = 1;
    while (i <= LEVELS && p->at[i] == other->at[i])
        i++;
    for (; i <= LEVELS; i++)
        p->at[i] = NULL;
}

/* The innermost headings go in first: of a long path its beginning is left out. */
static struct str path_text(struct chunker *k, const struct path *p) {
    struct str parts[LEVELS];
    int n = 0, total = 0;
    for (int i = LEVELS; i >= 1; i--) {
        struct str t = p->at[i] ? heading_text(k->doc, p->at[i]) : STR_NULL;
        if (t.n == 0)
            continue;
        total += count(k, t) + 1;
        if (n > 0 && total > k->o.max_tokens / 4)
            break;
        parts[n++] = t;
    }
    struct buf b;
    buf_init(&b, 8192);
    while (n > 0) {
        n--;
        for (size_t i = 0; i < parts[n].n; i++)
            buf_addc(&b, (unsigned char)parts[n].p[i] < ' ' ? ' ' : parts[n].p[i]);
        if (n)
            buf_addz(&b, PATH_SEPARATOR);
    }
    struct str s = arena_str(k->arena, buf_str(&b));
    if (buf_err(&b) || !s.p)
        k->err = ERR_NOMEM;
    buf_deinit(&b);
    return s;
}

static int path_tokens(struct chunker *k, const struct path *p) {
    int n = 0;
    for (int i = 1; i <= LEVELS; i++)
        n += p->at[i] ? count(k, heading_text(k->doc, p->at[i])) + 1 : 0;
    return n < k->o.max_tokens / 2 ? n : k->o.max_tokens / 2;
}

static bool title_stands_apart(const struct doc_text *doc, struct str path) {
    return doc->title.n && !str_starts(path, str_trim(doc->title));
}

static struct str title_text(const struct doc_text *doc) {
    struct str t = str_trim(doc->title);
    return str_sub(t, 0, utf8_cut(t, HEADING_BYTES_MAX));
}

void chunk_embed_text(struct buf *b, const struct doc_text *doc, const struct chunk *c) {
    if (title_stands_apart(doc, c->heading_path)) {
        buf_adds(b, title_text(doc));
        buf_addz(b, c->heading_path.n ? PATH_SEPARATOR : "\n");
    }
    if (c->heading_path.n) {
        buf_adds(b, c->heading_path);
        buf_addc(b, '\n');
    }
    if (c->lead.n) {
        buf_adds(b, c->lead);
        buf_addc(b, '\n');
    }
    buf_adds(b, c->text);
}

/* ---- closing a chunk ---- */

/* Chunks come in order, so pages and characters are looked up going forward. */
static int page_at(struct chunker *k, size_t at) {
    int page = 0;
    for (size_t i = k->page; i < k->doc->n_marks; i++) {
        const struct doc_mark *m = &k->doc->marks[i];
        if (m->from > at)
            break;
        if (m->kind == DOC_PAGE) {
            k->page = i;
            page = m->value;
        }
    }
    return page;
}

static size_t characters_at(struct chunker *k, size_t at) {
    k->counted_chars += doc_characters(slice(k, k->counted_bytes, at));
    k->counted_bytes = at;
    return k->counted_chars;
}

static struct chunk *new_chunk(struct chunker *k) {
    if (k->n == CHUNKS_MAX) {
        k->err = ERR_TOO_LARGE;
        return NULL;
    }
    if (k->n == k->size) {
        size_t size = k->size ? 2 * k->size : 64;
        struct chunk *p = realloc(k->chunks, size * sizeof *p);
        if (!p) {
            k->err = ERR_NOMEM;
            return NULL;
        }
        k->chunks = p;
        k->size = size;
    }
    return &k->chunks[k->n++];
}

static void emit(struct chunker *k, size_t from, size_t to, int tokens, const struct path *path,
                 struct str lead, enum block_kind kind) {
    struct str s = str_trim(slice(k, from, to));
    struct chunk *c = s.n && !k->err ? new_chunk(k) : NULL;
    if (!c)
        return;
    from = (size_t)(s.p - k->doc->text.p);
    to = from + s.n;
    *c = (struct chunk){.text = s,
                        .from = from,
                        .to = to,
                        .char_from = characters_at(k, from),
                        .char_to = characters_at(k, to),
                        .page_from = page_at(k, from),
                        .heading_path = path_text(k, path),
                        .lead = lead,
                        .is_table = kind == BLOCK_TABLE,
                        .is_code = kind == BLOCK_CODE};
    c->page_to = page_at(k, to - 1);
    c->tokens = tokens + count(k, c->heading_path) + (lead.n ? count(k, lead) : 0);
    if (title_stands_apart(k->doc, c->heading_path))
        c->tokens += count(k, title_text(k->doc));
}

static void close_chunk(struct chunker *k) {
    if (k->open)
        emit(k, k->from, k->to, k->tokens, &k->open_path, STR_NULL,
             k->mixed ? BLOCK_TEXT : k->kind);
    k->open = false;
}

static int budget_for(struct chunker *k, const struct path *path) {
    int front = path_tokens(k, path) + (k->doc->title.n ? count(k, title_text(k->doc)) : 0);
    int half = k->o.max_tokens / 2;
    return k->o.max_tokens - (front < half ? front : half);
}

static void open_chunk(struct chunker *k, enum block_kind kind, size_t from, size_t to,
                       int tokens) {
    k->open = true;
    k->from = from;
    k->to = to;
    k->tokens = tokens;
    k->kind = kind;
    k->mixed = false;
    k->open_path = k->path;
    k->budget = budget_for(k, &k->path);
}

/* ---- what is too long for a chunk ---- */

/* Between words; in what has none between characters. *from moves on. */
static void cut_words(struct chunker *k, size_t *from, size_t to, int budget) {
    while (*from < to && !k->err) {
        struct str rest = slice(k, *from, to);
        size_t n = rest.n;
        if (count(k, str_sub(rest, 0, utf8_cut(rest, (size_t)budget * 12))) <= budget &&
            rest.n <= (size_t)budget * 12)
            return; /* what is left fits */
        size_t low = 1, high = n < (size_t)budget * 12 ? n : (size_t)budget * 12;
        while (low < high) { /* the longest beginning that fits */
            size_t mid = low + (high - low + 1) / 2;
            if (count(k, str_sub(rest, 0, utf8_cut(rest, mid))) <= budget)
                low = mid;
            else
                high = mid - 1;
        }
        size_t cut = utf8_cut(rest, low);
        for (size_t i = cut; i > cut / 2; i--)
            if (rest.p[i - 1] == ' ' || rest.p[i - 1] == '\n') {
                cut = i;
                break;
            }
        if (cut == 0)
            cut = utf8_cut(rest, 4) ? utf8_cut(rest, 4) : rest.n;
        struct str piece = slice(k, *from, *from + cut);
        emit(k, *from, *from + cut, count(k, piece), &k->path, STR_NULL, BLOCK_TEXT);
        *from += cut;
    }
}

static void split_text(struct chunker *k, const struct block *b) {
    size_t from, to;
    if (!k->sentences && (k->err = sentences_open(text_language(k->doc->text), &k->sentences)))
        return;
    if ((k->err = sentences_set(k->sentences, slice(k, b->from, b->to))))
        return;
    while (!k->err && sentences_next(k->sentences, &from, &to)) {
        from += b->from;
        to += b->from;
        int tokens = count(k, slice(k, from, to));
        if (k->open && k->tokens + tokens <= k->budget) {
            k->to = to;
            k->tokens += tokens;
            continue;
        }
        close_chunk(k);
        int budget = budget_for(k, &k->path);
        if (tokens > budget) {
            cut_words(k, &from, to, budget);
            if (from >= to)
                continue;
            tokens = count(k, slice(k, from, to));
        }
        open_chunk(k, BLOCK_TEXT, from, to, tokens);
    }
}

static size_t line_end(const struct chunker *k, size_t from, size_t to) {
    const char *end = memchr(k->doc->text.p + from, '\n', to - from);
    return end ? (size_t)(end - k->doc->text.p) + 1 : to;
}

/* The head of a table: its first row, and Markdown's line of dashes below it. */
static size_t table_head(const struct chunker *k, const struct block *b) {
    if (!b->mark || b->mark->value < 1)
        return b->from;
    size_t to = line_end(k, b->from, b->to);
    struct str second = to < b->to ? slice(k, to, line_end(k, to, b->to)) : STR_NULL;
    bool dashes = second.n > 0 && memchr(second.p, '-', second.n) != NULL;
    for (size_t i = 0; i < second.n; i++)
        dashes = dashes && memchr("|-: \t\n", second.p[i], 6);
    return dashes ? line_end(k, to, b->to) : to;
}

/* Lines (or rows) are put together; code is cut at the last empty line when that lies in the second
 * half. */
static void split_lines(struct chunker *k, const struct block *b) {
    size_t head = b->kind == BLOCK_TABLE ? table_head(k, b) : b->from;
    struct str lead = str_trim(slice(k, b->from, head));
    int budget = budget_for(k, &k->path), lead_tokens = lead.n ? count(k, lead) : 0;
    if (lead_tokens > budget / 2) {
        lead = STR_NULL;
        lead_tokens = 0;
        head = b->from;
    }
    budget -= lead_tokens;
    close_chunk(k);
    size_t from = head, to = head, gap = 0;
    int tokens = 0, gap_tokens = 0;
    while (to < b->to && !k->err) {
        size_t end = line_end(k, to, b->to);
        struct str line = slice(k, to, end);
        int more = count(k, line);
        if (tokens + more > budget && to > from) {
            bool at_gap = gap > from && gap_tokens > budget / 2;
            size_t cut = at_gap ? gap : to;
            emit(k, from, cut, at_gap ? gap_tokens : tokens, &k->path, lead, b->kind);
            tokens = cut < to ? count(k, slice(k, cut, to)) : 0;
            from = cut;
            continue;
        }
        if (more > budget) {
            cut_words(k, &to, end, budget);
            from = to;
            more = count(k, slice(k, to, end));
        }
        to = end;
        tokens += more;
        if (str_trim(line).n == 0) {
            gap = to;
            gap_tokens = tokens;
        }
    }
    emit(k, from, to, tokens, &k->path, lead, b->kind);
}

/* ---- packing ---- */

static void add_heading(struct chunker *k, const struct doc_mark *m) {
    const struct doc_mark *bare = k->bare;
    if (bare && m->value <= bare->value) { /* nothing stood below it: its words are the section */
        int tokens = count(k, slice(k, bare->from, bare->to));
        if (k->open && k->tokens + tokens <= k->budget) {
            k->to = bare->to;
            k->tokens += tokens;
            k->mixed = true;
        } else {
            struct path above = k->path;
            close_chunk(k);
            k->path.at[bare->value] = NULL;
            open_chunk(k, BLOCK_TEXT, bare->from, bare->to, tokens);
            k->path = above;
        }
    }
    if (k->open && k->tokens >= k->o.min_tokens)
        close_chunk(k);
    path_enter(&k->path, m);
    k->bare = m;
}

static void add_block(struct chunker *k, const struct block *b) {
    if (b->kind == BLOCK_HEADING) {
        add_heading(k, b->mark);
        return;
    }
    int tokens = count(k, slice(k, b->from, b->to));
    int heading = k->bare ? count(k, slice(k, k->bare->from, k->bare->to)) : 0;
    k->bare = NULL;
    if (k->open && k->tokens + heading + tokens <= k->budget) {
        k->to = b->to;
        k->tokens += heading + tokens;
        k->mixed = k->mixed || k->kind != b->kind;
        path_common(&k->open_path, &k->path);
        return;
    }
    if (k->open && (heading || b->kind != BLOCK_TEXT || k->tokens >= k->o.min_tokens))
        close_chunk(k);
    int budget = budget_for(k, &k->path);
    if (tokens > budget && b->kind == BLOCK_TEXT) {
        split_text(k, b);
    } else if (tokens > budget) {
        split_lines(k, b);
    } else {
        close_chunk(k);
        open_chunk(k, b->kind, b->from, b->to, tokens);
    }
}

/* ---- blocks ---- */

/* The next mark that is a block of its own and does not lie before `at`. */
static const struct doc_mark *block_mark(struct chunker *k) {
    while (k->mark < k->doc->n_marks) {
        const struct doc_mark *m = &k->doc->marks[k->mark];
        if (m->kind != DOC_PAGE && m->from >= k->at && m->to > m->from)
            return m;
        k->mark++;
    }
    return NULL;
}

/* The end of the paragraph that begins at from: before an empty line, or at limit. */
static size_t paragraph_end(const struct chunker *k, size_t from, size_t limit) {
    size_t at = from;
    while (at < limit) {
        size_t end = line_end(k, at, limit);
        if (at > from && str_trim(slice(k, at, end)).n == 0)
            return at;
        at = end;
    }
    return limit;
}

static size_t skip_white(const struct chunker *k, size_t at, size_t limit) {
    while (at < limit && strchr(" \t\n\r\f\v", k->doc->text.p[at]))
        at++;
    return at;
}

/* A heading's mark leaves its markup out, which is no text either: "## " in front of it, … */
static size_t before_heading(const struct chunker *k, size_t heading, size_t at) {
    size_t i = heading;
    while (i > at && memchr("# \t", k->doc->text.p[i - 1], 3))
        i--;
    return i == at || k->doc->text.p[i - 1] == '\n' ? i : heading;
}

static bool only_markup(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!memchr("#=- \t\n\r", s.p[i], 7))
            return false;
    return true;
}

/* … and " ##" or a line of "===" behind it. */
static size_t behind_heading(const struct chunker *k, size_t at) {
    size_t end = line_end(k, at, k->doc->text.n);
    if (!only_markup(slice(k, at, end)))
        return at;
    size_t below = line_end(k, end, k->doc->text.n);
    return only_markup(slice(k, end, below)) ? below : end;
}

static bool next_block(struct chunker *k, struct block *ret) {
    static const enum block_kind kinds[] = {
        [DOC_HEADING] = BLOCK_HEADING, [DOC_TABLE] = BLOCK_TABLE, [DOC_CODE] = BLOCK_CODE};
    while (k->at < k->doc->text.n) {
        const struct doc_mark *m = block_mark(k);
        size_t limit = m ? m->from : k->doc->text.n;
        if (m && m->kind == DOC_HEADING)
            limit = before_heading(k, limit, k->at);
        k->at = skip_white(k, k->at, limit);
        if (k->at < limit) {
            *ret = (struct block){.from = k->at, .to = paragraph_end(k, k->at, limit)};
            k->at = ret->to;
            return true;
        }
        if (!m)
            return false;
        *ret = (struct block){.kind = kinds[m->kind], .from = m->from, .to = m->to, .mark = m};
        k->at = m->kind == DOC_HEADING ? behind_heading(k, m->to) : m->to;
        k->mark++;
        return true;
    }
    return false;
}

enum err chunk_document(const struct doc_text *doc, const struct chunk_options *o, struct arena *a,
                        struct chunk **ret, size_t *ret_n) {
    struct chunker k = {.doc = doc, .o = *o, .arena = a};
    struct block b;
    struct chunk *result = NULL;
    if (k.o.max_tokens <= 0)
        k.o.max_tokens = MAX_TOKENS_DEFAULT;
    if (k.o.min_tokens <= 0)
        k.o.min_tokens = k.o.max_tokens / 4;
    while (!k.err && next_block(&k, &b))
        add_block(&k, &b);
    close_chunk(&k);
    if (k.bare)
        emit(&k, k.bare->from, k.bare->to, count(&k, slice(&k, k.bare->from, k.bare->to)),
             &(struct path){0}, STR_NULL, BLOCK_TEXT);
    if (!k.err && !(result = arena_array(a, k.n ? k.n : 1, sizeof *result)))
        k.err = ERR_NOMEM;
    if (!k.err) {
        if (k.n)
            memcpy(result, k.chunks, k.n * sizeof *result);
        *ret = result;
        *ret_n = k.n;
    }
    sentences_close(k.sentences);
    free(k.chunks);
    return k.err;
}
