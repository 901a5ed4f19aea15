#include "engine/slots.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/metrics.h"

#define SHELF_MAX   256 /* states at most */
#define CATCH_UP    16  /* tokens that must be saved to copy in the middle of a prompt */
#define WORTH_STATE 64  /* tokens that a state must save to be worth its copy */
#define COPY_PART   256 /* tokens are copied in the time in which one is computed, at least */

struct state { /* a conversation on the shelf */
    struct tokens tokens;
    uint64_t conversation;
    void *bytes; /* owned */
    size_t n;
    int64_t used;
};

struct slots {
    struct model *model;
    struct slots_options o;
    struct slot *slots; /* o.slots, then the o.prefixes as slots that are never busy */
    struct state shelf[SHELF_MAX];
    int n_shelf;
    size_t shelf_bytes;
    int64_t tick;
};

enum err slots_new(struct model *m, const struct slots_options *o, struct slots **ret) {
    struct slots *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    s->model = m;
    s->o = *o;
    s->slots = calloc((size_t)(o->slots + o->prefixes), sizeof(*s->slots));
    if (!s->slots) {
        free(s);
        return ERR_NOMEM;
    }
    for (int i = 0; i < o->slots + o->prefixes; i++)
        s->slots[i].sequence = i;
    *ret = s;
    return ERR_OK;
}

static void shelf_drop(struct slots *s, int i) {
    s->shelf_bytes -= s->shelf[i].n;
    s->model->ops->seq_free(s->model, s->shelf[i].bytes);
    tokens_deinit(&s->shelf[i].tokens);
    s->shelf[i] = s->shelf[--s->n_shelf];
}

void slots_free(struct slots *s) {
    if (!s)
        return;
    while (s->n_shelf)
        shelf_drop(s, 0);
    for (int i = 0; i < s->o.slots + s->o.prefixes; i++)
        tokens_deinit(&s->slots[i].tokens);
    free(s->slots);
    free(s);
}

/* ---- copies, during which others may read ---- */

static void away(const struct slots *s, bool away) {
    if (s->o.away)
        s->o.away(s->o.ctx, away);
}

static bool copy(struct slots *s, const struct slot *from, const struct slot *to, int n) {
    away(s, true);
    bool copied = s->model->ops->seq_copy(s->model, from->sequence, to->sequence, n);
    away(s, false);
    return copied;
}

/* The bytes may follow in slots_settle(). */
static bool copy_later(struct slots *s, const struct slot *from, const struct slot *to, int n) {
    s->model->ops->defer(s->model, true);
    bool copied = copy(s, from, to, n);
    s->model->ops->defer(s->model, false);
    return copied;
}

/* ---- what there is ---- */

bool slots_fit(const struct slots *s, int n) {
    int64_t total = n;
    for (int i = 0; i < s->o.slots; i++)
        total += s->slots[i].busy ? s->slots[i].reserved : 0;
    return total <= s->o.cells;
}

/* What the slots hold or may come to hold; cells that several share are counted for each. */
static int64_t cells_taken(const struct slots *s) {
    int64_t total = 0;
    for (int i = 0; i < s->o.slots; i++)
        total += s->slots[i].busy ? s->slots[i].reserved : s->slots[i].computed;
    return total;
}

int slots_idle(const struct slots *s) {
    int n = 0;
    for (int i = 0; i < s->o.slots; i++)
        n += !s->slots[i].busy;
    return n;
}

size_t slots_shelf_bytes(const struct slots *s) {
    return s->shelf_bytes;
}

int slots_tokens(const struct slots *s) {
    int n = 0;
    for (int i = 0; i < s->o.slots + s->o.prefixes; i++)
        n += s->slots[i].computed;
    return n;
}

void slots_clear(struct slots *s, struct slot *slot) {
    s->model->ops->seq_trim(s->model, slot->sequence, 0);
    slot->tokens.n = slot->computed = 0;
    slot->conversation = 0;
}

/* Cuts a slot to its first n tokens; models that cannot cut lose all of them. */
static void trim(struct slots *s, struct slot *slot, int n) {
    if (!s->model->ops->seq_trim(s->model, slot->sequence, n))
        n = 0;
    slot->tokens.n = slot->computed = n;
}

static void shelf_make_room(struct slots *s, size_t n) {
    while (s->n_shelf && (s->n_shelf == SHELF_MAX || s->shelf_bytes + n > s->o.shelf_bytes)) {
        int oldest = 0;
        for (int i = 1; i < s->n_shelf; i++)
            if (s->shelf[i].used < s->shelf[oldest].used)
                oldest = i;
        shelf_drop(s, oldest);
    }
}

/* How many of the slot's tokens others hold, the shelf among them. */
static int held_elsewhere(const struct slots *s, const struct slot *slot) {
    int held = 0;
    for (int i = 0; i < s->o.slots + s->o.prefixes; i++) {
        int n = &s->slots[i] == slot ? 0
                                     : tokens_common(&s->slots[i].tokens, s->slots[i].computed,
                                                     &slot->tokens, slot->computed);
        held = n > held ? n : held;
    }
    for (int i = 0; i < s->n_shelf; i++) {
        const struct state *st = &s->shelf[i];
        int n = tokens_common(&st->tokens, st->tokens.n, &slot->tokens, slot->computed);
        held = n > held ? n : held;
    }
    return held;
}

/* What the shelf has of an earlier turn of the slot's conversation. */
static void drop_earlier(struct slots *s, const struct slot *slot) {
    for (int i = s->n_shelf; i-- > 0;) {
        const struct tokens *t = &s->shelf[i].tokens;
        if (tokens_common(t, t->n, &slot->tokens, slot->computed) == t->n)
            shelf_drop(s, i);
    }
}

/* Puts a slot's state on the shelf, unless others hold almost as much of it; whether it did. */
static bool shelve(struct slots *s, const struct slot *slot) {
    if (!s->o.shelf_bytes || slot->computed - held_elsewhere(s, slot) < WORTH_STATE)
        return false;
    size_t n = s->model->ops->seq_size(s->model, slot->sequence);
    if (n == 0 || n > s->o.shelf_bytes)
        return false;
    drop_earlier(s, slot);
    shelf_make_room(s, n);
    struct state st = {.conversation = slot->conversation, .n = n, .used = slot->used};
    away(s, true);
    st.bytes = malloc(n);
    bool saved = st.bytes && s->model->ops->seq_save(s->model, slot->sequence, st.bytes, n) > 0;
    away(s, false);
    if (!saved || tokens_add(&st.tokens, slot->tokens.p, slot->computed)) {
        s->model->ops->seq_free(s->model, st.bytes);
        tokens_deinit(&st.tokens);
        return false;
    }
    metric_add(M_ENGINE_SHELVED, 1);
    s->shelf[s->n_shelf++] = st;
    s->shelf_bytes += n;
    return true;
}

struct span { /* of the busy slots' numbers; low > high: none is busy */
    int low, high;
};

static struct span busy_span(const struct slots *s) {
    struct span span = {.low = INT32_MAX, .high = -1};
    for (int i = 0; i < s->o.slots; i++) {
        int n = s->slots[i].sequence;
        if (!s->slots[i].busy)
            continue;
        span.low = n < span.low ? n : span.low;
        span.high = n > span.high ? n : span.high;
    }
    return span;
}

/* Whether a is to be given to a newcomer rather than b: one between or beside the busy ones with
 * rows, so that it need not be moved there; one that holds nothing; one that was used longer ago.
 */
static bool given_before(const struct slots *s, const struct slot *a, const struct slot *b,
                         const struct span *busy) {
    bool beside_a = a->sequence >= busy->low - 1 && a->sequence <= busy->high + 1;
    bool beside_b = b->sequence >= busy->low - 1 && b->sequence <= busy->high + 1;
    if (s->model->info.rows && beside_a != beside_b)
        return beside_a;
    if ((a->computed == 0) != (b->computed == 0))
        return a->computed == 0;
    return a->used < b->used;
}

static struct slot *next_idle(struct slots *s, const struct slot *except) {
    const struct span busy = busy_span(s);
    struct slot *best = NULL;
    for (int i = 0; i < s->o.slots; i++) {
        struct slot *c = &s->slots[i];
        if (!c->busy && c != except && (!best || given_before(s, c, best, &busy)))
            best = c;
    }
    return best;
}

bool slots_tidy(struct slots *s) {
    const struct slot *next = next_idle(s, NULL);
    return next && shelve(s, next);
}

bool slots_evict(struct slots *s) {
    struct slot *victim = NULL;
    for (int i = 0; i < s->o.slots; i++)
        if (!s->slots[i].busy && s->slots[i].computed &&
            (!victim || s->slots[i].used < victim->used))
            victim = &s->slots[i];
    if (!victim)
        return false;
    metric_add(M_ENGINE_EVICTIONS, 1);
    shelve(s, victim);
    slots_clear(s, victim);
    return true;
}

struct source {
    struct slot *slot; /* of a slot or prefix, or */
    int shelf;         /* on the shelf, -1 = no */
    int n;             /* tokens in common */
    bool same;         /* of the same conversation */
};

/* What it is worth to start from there: to copy a token takes about as long as to compute so small
 * a part of one. */
static int worth(const struct slots *s, const struct slot *c, int n, bool taken_over) {
    return s->model->info.rows && !taken_over ? n * COPY_PART - c->computed : n * COPY_PART;
}

/* The longest common prefix. Among equals an idle slot of the same conversation, then any idle
 * slot. */
static struct source find_source(struct slots *s, const struct tokens *prompt,
                                 uint64_t conversation) {
    struct source best = {.shelf = -1};
    int best_rank = -1, best_worth = 0;
    /* One token alone is rounded otherwise than two: where that can be kept apart, it is. */
    int most = prompt->n - (s->model->info.rows ? 2 : 1);
    for (int i = 0; i < s->o.slots + s->o.prefixes; i++) {
        struct slot *c = &s->slots[i];
        int n = tokens_common(&c->tokens, c->computed, prompt, most);
        bool same = conversation && c->conversation == conversation;
        int rank = (i < s->o.slots && !c->busy) * (1 + same);
        int gain = worth(s, c, n, rank == 2 || (rank == 1 && n == c->computed));
        if (n > 0 && (gain > best_worth || (gain == best_worth && rank > best_rank))) {
            best = (struct source){.slot = c, .shelf = -1, .n = n, .same = same};
            best_rank = rank;
            best_worth = gain;
        }
    }
    for (int i = 0; i < s->n_shelf; i++) {
        int n = tokens_common(&s->shelf[i].tokens, s->shelf[i].tokens.n, prompt, most);
        if (n >= best.n + WORTH_STATE)
            best = (struct source){.shelf = i, .n = n, .same = true};
    }
    return best;
}

int slots_held(struct slots *s, const struct tokens *prompt, uint64_t conversation) {
    return find_source(s, prompt, conversation).n;
}

/* Whether the prompt may take the source's own slot: nothing that others could want is lost. */
static bool can_take_over(const struct slots *s, const struct source *from) {
    const struct slot *slot = from->slot;
    if (!slot || slot->busy || slot >= s->slots + s->o.slots)
        return false;
    return from->same || slot->computed == from->n;
}

static void fill(struct slots *s, struct slot *slot, const struct source *from,
                 enum slots_source *ret_source) {
    const struct model_ops *ops = s->model->ops;
    slot->tokens.n = slot->computed = 0;
    if (from->shelf >= 0) {
        struct state *st = &s->shelf[from->shelf];
        ops->seq_trim(s->model, slot->sequence, 0);
        bool loaded = tokens_add(&slot->tokens, st->tokens.p, st->tokens.n) == ERR_OK;
        away(s, true);
        loaded = loaded && ops->seq_load(s->model, slot->sequence, st->bytes, st->n);
        away(s, false);
        if (loaded) {
            slot->computed = st->tokens.n;
            trim(s, slot, from->n);
            *ret_source = SLOTS_SHELF;
            shelf_drop(s, from->shelf);
        } else {
            slots_clear(s, slot); /* the state stays for a time when there is room for it */
        }
    } else if (from->n > 0 && tokens_add(&slot->tokens, from->slot->tokens.p, from->n) == ERR_OK &&
               copy(s, from->slot, slot, from->n)) {
        slot->computed = from->n;
        *ret_source = SLOTS_COPY;
    } else {
        slots_clear(s, slot);
    }
}

static void evict_to_limit(struct slots *s) {
    while (cells_taken(s) > s->o.cells && slots_evict(s))
        ;
}

/* Before a state is loaded idle slots give up what it needs, perhaps more than its new prompt. What
 * they put on the shelf must not push it out. */
static void make_room_for_state(struct slots *s, struct slot *slot, struct state *st) {
    int reserved = slot->reserved;
    st->used = ++s->tick;
    if (slot->reserved < st->tokens.n)
        slot->reserved = st->tokens.n;
    evict_to_limit(s);
    slot->reserved = reserved;
}

/* Whether the slot, which is given up, has the beginning that the prompt would start from: then it
 * need not be copied there. */
static bool begins_alike(const struct slots *s, const struct slot *slot, const struct source *from,
                         const struct tokens *prompt) {
    return s->model->info.cuts && from->shelf < 0 && from->n > 0 && slot->computed >= from->n &&
           tokens_common(&slot->tokens, from->n, prompt, from->n) == from->n;
}

static struct slot *acquire(struct slots *s, struct tokens *prompt, int reserve,
                            uint64_t conversation, enum slots_source *ret_source) {
    struct source from = find_source(s, prompt, conversation);
    struct slot *slot = NULL;
    *ret_source = SLOTS_NONE;
    if (can_take_over(s, &from) || (from.slot && !from.slot->busy && slots_idle(s) == 1 &&
                                    from.slot < s->slots + s->o.slots && from.n > 0)) {
        slot = from.slot;
        if (slot->computed > from.n && !from.same)
            shelve(s, slot);
        trim(s, slot, from.n);
        if (slot->computed)
            *ret_source = SLOTS_SAME;
    } else {
        slot = next_idle(s, from.slot);
        if (!slot)
            return NULL;
        if (slot->computed) {
            /* The shelf may drop the state that is wanted to make room: it is looked for again. */
            metric_add(M_ENGINE_EVICTIONS, 1);
            shelve(s, slot);
            if (begins_alike(s, slot, &from, prompt))
                trim(s, slot, from.n);
            else
                slots_clear(s, slot);
            from = find_source(s, prompt, conversation);
        }
        slot->busy = true;
        slot->reserved = reserve;
        if (from.shelf >= 0) {
            make_room_for_state(s, slot, &s->shelf[from.shelf]);
            from = find_source(s, prompt, conversation); /* the shelf was moved about */
        }
        if (slot->computed > 0 && from.shelf < 0 && from.n == slot->computed)
            *ret_source = SLOTS_SAME;
        else
            fill(s, slot, &from, ret_source);
    }
    if (tokens_add(&slot->tokens, prompt->p + slot->computed, prompt->n - slot->computed)) {
        slots_clear(s, slot);
        slot->busy = false;
        slot->reserved = 0;
        return NULL;
    }
    tokens_deinit(prompt);
    slot->busy = true;
    slot->reserved = reserve;
    evict_to_limit(s);
    slot->conversation = conversation;
    slot->used = ++s->tick;
    return slot;
}

struct slot *slots_acquire(struct slots *s, struct tokens *prompt, int reserve,
                           uint64_t conversation, enum slots_source *ret_source) {
    s->model->ops->defer(s->model, true);
    struct slot *slot = acquire(s, prompt, reserve, conversation, ret_source);
    s->model->ops->defer(s->model, false);
    return slot;
}

bool slots_settle(struct slots *s, int64_t until_ns) {
    away(s, true);
    bool all = s->model->ops->settle(s->model, until_ns);
    away(s, false);
    return all;
}

bool slots_moves(const struct slots *s) {
    return s->model->ops->moves(s->model);
}

int slots_catch_up(struct slots *s, struct slot *slot) {
    struct slot *from = NULL;
    int before = slot->computed, most = before + CATCH_UP - 1;
    int whole = slot->tokens.n - (s->model->info.rows ? 2 : 1); /* as in find_source() */
    for (int i = 0; i < s->o.slots + s->o.prefixes; i++) {
        struct slot *c = &s->slots[i];
        int n = c == slot ? 0 : tokens_common(&c->tokens, c->computed, &slot->tokens, whole);
        if (n > most) {
            most = n;
            from = c;
        }
    }
    if (!from)
        return 0;
    bool copied = copy_later(s, from, slot, most);
    slot->computed = copied ? most : 0;
    return slot->computed - before;
}

static struct slot *holder(struct slots *s, int sequence) {
    struct slot *c = s->slots;
    while (c->sequence != sequence)
        c++;
    return c;
}

static void exchange(struct slots *s, struct slot *a, struct slot *b) {
    int sequence = a->sequence;
    int64_t begin = clock_mono_ns();
    away(s, true);
    bool moved = s->model->ops->seq_swap(s->model, a->sequence, b->sequence);
    away(s, false);
    metric_observe(M_ENGINE_SWAP_SECONDS, (double)(clock_mono_ns() - begin) / 1e9);
    a->sequence = b->sequence;
    b->sequence = sequence;
    for (int i = 0; i < 2 && !moved; i++) {
        struct slot *c = i ? b : a;
        c->computed = 0;
        if (!c->busy)
            c->tokens.n = 0;
    }
}

void slots_pack(struct slots *s, struct slot *const *slots, int n) {
    if (!s->model->info.rows)
        return;
    for (int round = 0; round < n; round++) { /* each brings one from the edge into a gap */
        struct slot *low = slots[0], *high = slots[0], *edge;
        bool taken[SLOTS_MAX] = {false};
        int gap;
        for (int i = 0; i < n; i++) {
            taken[slots[i]->sequence] = true;
            low = slots[i]->sequence < low->sequence ? slots[i] : low;
            high = slots[i]->sequence > high->sequence ? slots[i] : high;
        }
        if (high->sequence - low->sequence + 1 == n)
            return;
        for (gap = low->sequence; taken[gap]; gap++)
            ;
        edge = low->computed < high->computed ? low : high;
        exchange(s, edge, holder(s, gap));
    }
}

void slots_release(struct slots *s, struct slot *slot) {
    slot->busy = false;
    slot->reserved = 0;
    slot->used = ++s->tick;
    trim(s, slot, slot->computed);
}

bool slots_restore(struct slots *s, const struct tokens *tokens, uint64_t conversation,
                   const void *state, size_t size) {
    struct slot *slot = NULL;
    for (int i = 0; i < s->o.slots && !slot; i++)
        if (!s->slots[i].busy && s->slots[i].computed == 0)
            slot = &s->slots[i];
    if (!slot || cells_taken(s) + tokens->n > s->o.cells)
        return false;
    if (tokens_add(&slot->tokens, tokens->p, tokens->n) ||
        !s->model->ops->seq_load(s->model, slot->sequence, state, size)) {
        slots_clear(s, slot);
        return false;
    }
    slot->computed = tokens->n;
    slot->conversation = conversation;
    slot->used = ++s->tick;
    return true;
}

void slots_keep_prefix(struct slots *s, const struct slot *from, int n) {
    struct slot *prefixes = s->slots + s->o.slots, *to = NULL;
    int total = n;
    if (n < 1 || n > s->o.prefix_tokens)
        return;
    for (int i = 0; i < s->o.prefixes; i++) {
        struct slot *c = &prefixes[i];
        if (c->computed >= n && tokens_common(&c->tokens, c->computed, &from->tokens, n) == n) {
            c->used = ++s->tick;
            return;
        }
    }
    for (int i = 0; i < s->o.prefixes; i++) {
        total += prefixes[i].computed;
        if (!to || prefixes[i].used < to->used)
            to = &prefixes[i];
    }
    while (to && total > s->o.prefix_tokens) { /* forget the least used until this one fits */
        struct slot *oldest = NULL;
        for (int i = 0; i < s->o.prefixes; i++)
            if (prefixes[i].computed && (!oldest || prefixes[i].used < oldest->used))
                oldest = &prefixes[i];
        if (!oldest)
            return;
        total -= oldest->computed;
        slots_clear(s, oldest);
        oldest->used = 0;
        to = oldest;
    }
    if (!to)
        return;
    slots_clear(s, to);
    if (tokens_add(&to->tokens, from->tokens.p, n) == ERR_OK && copy_later(s, from, to, n))
        to->computed = n;
    else
        slots_clear(s, to);
    to->used = ++s->tick;
}
