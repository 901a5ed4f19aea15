/* Building and fitting the prompt. All sums are made in 64 bits; counts come from a model server
 * and are bounded by upstream.h's reader. */
#include "prompt/prompt.h"

#include <limits.h>

#include "base/buf.h"
#include "prompt/count_cache.h"

#define KEEP_PERCENT  60 /* of the room that is left after a cut */
#define EXTRACT_LINE  140
#define SUMMARY_MIN   300
#define SUMMARY_MAX   1600
#define NOTE_BEFORE   "Earlier in this conversation, in short:\n"
#define REQUEST_PIECE 700 /* bytes of one message in a request for a summary */

enum { FIXED_SYSTEM, FIXED_NOTE };

static bool has_text(struct str s) {
    return str_trim(s).n > 0;
}

/* ---- opening ---- */

/* Where the branch goes on after what has fallen out; 0 when that is not on this branch. */
static size_t after_cut(const struct prompt_input *in) {
    if (!uuid_is_set(&in->summary_until))
        return 0;
    for (size_t i = in->n; i-- > 0;)
        if (uuid_eq(&in->branch[i].message_id, &in->summary_until))
            return i + 1 < in->n ? i + 1 : 0;
    return 0;
}

static enum err compose_system(struct prompt *p, struct str note, struct arena *a) {
    struct str own = str_trim(p->in.system_prompt);
    if (!note.n) {
        p->system = own;
        return ERR_OK;
    }
    char *text = arena_printf(a, "%.*s%s%s%.*s", STR_ARG(own), own.n ? "\n\n" : "", NOTE_BEFORE,
                              STR_ARG(note));
    if (!text)
        return ERR_NOMEM;
    p->system = str_from(text);
    return ERR_OK;
}

enum err prompt_open(const struct prompt_input *in, struct arena *a, struct prompt *ret) {
    struct prompt p = {.in = *in};
    size_t from = after_cut(in);
    p.items = arena_array(a, in->n ? in->n : 1, sizeof *p.items);
    if (!p.items)
        return ERR_NOMEM;
    if (from == 0)
        p.in.summary = STR_NULL; /* of another branch */
    for (size_t i = from; i < in->n; i++)
        if (has_text(in->branch[i].content))
            p.items[p.n++] = (struct prompt_item){in->branch[i].message_id, in->branch[i].sender,
                                                  in->branch[i].content, -1};
    p.fixed[FIXED_SYSTEM] = (struct prompt_item){.content = in->system_prompt, .tokens = -1};
    p.fixed[FIXED_NOTE] = (struct prompt_item){.content = p.in.summary, .tokens = -1};
    enum err e = compose_system(&p, p.in.summary, a);
    if (e)
        return e;
    *ret = p;
    return ERR_OK;
}

/* ---- counting ---- */

/* The template's tokens: around each message, around the system message, before the answer, and the
 * note's own first line. */
static int64_t frame(const struct prompt *p, size_t messages) {
    return (int64_t)p->in.overhead * ((int64_t)messages + 2) + (int64_t)sizeof NOTE_BEFORE;
}

bool prompt_fits_by_bytes(struct prompt *p) {
    int64_t bound = frame(p, p->n) + (int64_t)p->system.n;
    for (size_t i = 0; i < p->n; i++)
        bound += (int64_t)p->items[i].content.n;
    if (bound + p->in.max_tokens > p->in.window)
        return false;
    p->first = 0;
    p->tokens = (int)bound;
    p->max_tokens = p->in.max_tokens;
    return true;
}

/* The i-th of what is counted: the two fixed texts, then the items. */
static struct prompt_item *counted(struct prompt *p, size_t i) {
    return i < 2 ? &p->fixed[i] : &p->items[i - 2];
}

enum err prompt_uncounted(struct prompt *p, struct count_cache *cache, struct arena *a,
                          struct str **ret_texts, size_t *ret_n) {
    struct str *texts = arena_array(a, p->n + 2, sizeof *texts);
    size_t n = 0;
    if (!texts)
        return ERR_NOMEM;
    for (size_t i = 0; i < p->n + 2; i++) {
        struct prompt_item *item = counted(p, i);
        if (item->content.n == 0)
            item->tokens = 0;
        if (item->tokens < 0)
            item->tokens = count_cache_get(cache, p->in.model, item->content);
        if (item->tokens < 0)
            texts[n++] = item->content;
    }
    *ret_texts = texts;
    *ret_n = n;
    return ERR_OK;
}

void prompt_set_counts(struct prompt *p, struct count_cache *cache, const int *counts) {
    size_t k = 0;
    for (size_t i = 0; i < p->n + 2; i++) {
        struct prompt_item *item = counted(p, i);
        if (item->tokens >= 0)
            continue;
        if (counts) {
            item->tokens = counts[k++];
            count_cache_put(cache, p->in.model, item->content, item->tokens);
        } else {
            size_t guess = item->content.n / PROMPT_BYTES_PER_TOKEN + 1;
            item->tokens = guess < INT_MAX / 4 ? (int)guess : INT_MAX / 4;
        }
    }
}

/* ---- cutting ---- */

/* The first item of the next turn after i, or n. */
static size_t next_turn(const struct prompt *p, size_t i) {
    for (i++; i < p->n; i++)
        if (p->items[i].sender == SENDER_USER)
            return i;
    return p->n;
}

static int64_t total_from(const struct prompt *p, size_t first) {
    int64_t sum =
        frame(p, p->n - first) + p->fixed[FIXED_SYSTEM].tokens + p->fixed[FIXED_NOTE].tokens;
    for (size_t i = first; i < p->n; i++)
        sum += p->items[i].tokens;
    return sum;
}

size_t prompt_summary_cap(int window) {
    int cap = window / 4;
    return (size_t)(cap < SUMMARY_MIN ? SUMMARY_MIN : cap > SUMMARY_MAX ? SUMMARY_MAX : cap);
}

/* One line of text: white space becomes a blank, cut at max bytes. */
static void add_line(struct buf *b, struct str s, size_t max) {
    s = str_trim(s);
    size_t n = utf8_cut(s, max < s.n ? max : s.n);
    for (size_t i = 0; i < n; i++)
        buf_addc(b, (unsigned char)s.p[i] <= ' ' ? ' ' : s.p[i]);
    if (n < s.n)
        buf_addz(b, "…");
}

/* What the person asked in the turns that fall out, newest kept, below the old summary. It stands
 * until the model has written a better one, or for good if it never does. */
static enum err extract(struct prompt *p, struct arena *a) {
    size_t cap = prompt_summary_cap(p->in.window);
    size_t line = cap / 2 < EXTRACT_LINE ? cap / 2 : EXTRACT_LINE;
    struct str old = str_trim(p->in.summary);
    old.n = utf8_cut(old, old.n < cap / 2 ? old.n : cap / 2);
    size_t room = cap - old.n, from = p->first;
    while (from > 0) {
        const struct prompt_item *item = &p->items[from - 1];
        size_t need = item->content.n < line ? item->content.n : line;
        need = item->sender == SENDER_USER ? need + 16 : 0;
        if (need > room)
            break;
        room -= need;
        from--;
    }
    struct buf b;
    buf_init(&b, 2 * cap + 64);
    buf_adds(&b, old);
    for (size_t i = from; i < p->first; i++) {
        if (p->items[i].sender != SENDER_USER)
            continue;
        buf_addz(&b, b.n ? "\n- asked: " : "- asked: ");
        add_line(&b, p->items[i].content, line);
    }
    p->new_summary = buf_err(&b) ? STR_NULL : arena_str(a, buf_str(&b));
    buf_deinit(&b);
    return p->new_summary.p ? ERR_OK : ERR_NOMEM;
}

static enum err too_long(const struct prompt *p, int64_t needed, int64_t reserve,
                         struct errinfo *ei) {
    int system = p->fixed[FIXED_SYSTEM].tokens;
    if (system >= p->in.window - reserve) /* no message is short enough */
        return err_set(ei, ERR_CONTEXT,
                       "the role's instructions alone take about %d tokens, and the model's window "
                       "holds %d: an administrator has to shorten them",
                       system, p->in.window);
    return err_param(
        ei, ERR_CONTEXT, "content",
        "this message and the role's instructions take about %lld tokens; the model's "
        "window holds %d, of which %lld are kept for the answer: shorten the message or "
        "split it into several",
        (long long)needed, p->in.window, (long long)reserve);
}

/* What did not fit falls out: the note changes, and with it the system message. */
static enum err drop(struct prompt *p, int64_t room, struct arena *a) {
    p->was_cut = true;
    p->cut_until = p->items[p->first - 1].message_id;
    enum err e = extract(p, a);
    if (e)
        return e;
    p->fixed[FIXED_NOTE].content = p->new_summary;
    p->fixed[FIXED_NOTE].tokens = (int)(p->new_summary.n / PROMPT_BYTES_PER_TOKEN + 1);
    bool note_fits = total_from(p, p->first) <= room;
    if (!note_fits)
        p->fixed[FIXED_NOTE].tokens = 0;
    return compose_system(p, note_fits ? p->new_summary : STR_NULL, a);
}

enum err prompt_cut(struct prompt *p, struct arena *a, struct errinfo *ei) {
    int64_t quarter = p->in.window / 4;
    int64_t reserve = p->in.max_tokens < quarter ? p->in.max_tokens : quarter;
    int64_t room = p->in.window - reserve;
    p->first = 0;
    int64_t total = total_from(p, 0);
    if (total > room) {
        size_t next;
        while (total > room * KEEP_PERCENT / 100 && (next = next_turn(p, p->first)) < p->n)
            for (; p->first < next; p->first++)
                total -= p->items[p->first].tokens + p->in.overhead;
        if (p->first > 0) {
            enum err e = drop(p, room, a);
            if (e)
                return err_set(ei, e, NULL);
            total = total_from(p, p->first);
        }
    }
    if (total > room)
        return too_long(p, total, reserve, ei);
    p->tokens = (int)total;
    int64_t left = p->in.window - total;
    p->max_tokens = left < p->in.max_tokens ? (int)left : p->in.max_tokens;
    return ERR_OK;
}

/* ---- asking for a summary ---- */

enum err prompt_summary_request(const struct prompt *p, size_t max_bytes, struct arena *a,
                                struct str *ret) {
    struct buf b;
    struct str old = str_trim(p->in.summary);
    size_t piece = max_bytes / (p->first ? p->first : 1);
    piece = piece < 80 ? 80 : piece > REQUEST_PIECE ? REQUEST_PIECE : piece;
    buf_init(&b, max_bytes + 4 * REQUEST_PIECE + old.n);
    if (old.n)
        buf_addf(&b, "Summary of what came before:\n%.*s\n\n", STR_ARG(old));
    buf_addz(&b, "Conversation:\n");
    for (size_t i = 0; i < p->first && b.n < max_bytes; i++) {
        buf_addz(&b, p->items[i].sender == SENDER_USER ? "User: " : "Assistant: ");
        add_line(&b, p->items[i].content, piece);
        buf_addc(&b, '\n');
    }
    struct str copy = buf_err(&b) ? STR_NULL : arena_str(a, buf_str(&b));
    buf_deinit(&b);
    if (!copy.p)
        return ERR_NOMEM;
    *ret = copy;
    return ERR_OK;
}
