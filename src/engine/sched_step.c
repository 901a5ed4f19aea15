/* One step: what takes part in it, and what comes of it. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "engine/sched_internal.h"

#define JOIN_TOKENS                                                                                \
    64                /* prompts that are computed together: past it a token costs as much alone   \
                       */
#define CHUNK_MIN   8 /* tokens of a prompt in a step beside running answers */
#define CHUNK_LEAST 4 /* the same of a long prompt, when it is known what its tokens take */
#define DEARER                                                                                     \
    1.5 /* times as long as before a token is taken to need at most: what is more was chance */
#define CHEAPER    0.5  /* how fast less is believed */
#define STAND_BACK 8    /* the background takes part in every so many-th step beside people */
#define WORTH      1.15 /* guesses must pay by so much by the forecast */

/* ---- building ---- */

static void add_item(struct sched *s, int at, int sequence, int position, int32_t token,
                     bool logits) {
    s->items[at] = (struct model_item){
        .sequence = sequence, .position = position, .token = token, .logits = logits};
}

static int add_items(struct sched *s, struct job *j, int at, int n) {
    struct slot *slot = j->slot;
    for (int i = 0; i < n; i++)
        add_item(s, at + i, slot->sequence, slot->computed + i, slot->tokens.p[slot->computed + i],
                 slot->computed + i == slot->tokens.n - 1);
    j->computed_after = slot->computed + n;
    if (n && s->items[at + n - 1].logits)
        j->item = at + n - 1;
    pthread_mutex_lock(&s->lock); /* others cancel what takes part */
    s->live[s->n_live++] = j->id;
    pthread_mutex_unlock(&s->lock);
    return at + n;
}

/* Adds what may follow an answer's last token, as far as computing it too is worth its time. With d
 * answers a guessed token costs answer_ns, and a right one saves the d-th part of a step. */
static int add_guesses(struct sched *s, struct job *j, int at, int room, int decodes) {
    const struct forecast *f = &s->forecast;
    const struct slot *slot = j->slot;
    if (s->model->info.rows && (decodes > 1 || j->chat.exact))
        return at; /* beside others it takes a pass more */
    double worth = WORTH * f->answer_ns * decodes / forecast_step_ns(f, decodes, 0);
    int left = j->chat.max_tokens - j->answer_tokens - 1;
    int window = s->model->info.window - slot->tokens.n - 1;
    int max = left < room ? left : room;
    max = max < window ? max : window;
    max = max < LOOKUP_MAX ? max : LOOKUP_MAX;
    if (worth >= 1 || max < 1 || j->forced_done < j->chat.n_forced)
        return at;
    j->n_draft = lookup_guess(&j->lookup, slot->tokens.p, slot->tokens.n, max, worth, j->draft);
    for (int i = 0; i < j->n_draft; i++)
        add_item(s, at + i, slot->sequence, slot->tokens.n + i, j->draft[i], true);
    j->computed_after += j->n_draft;
    return at + j->n_draft;
}

/* Of the whole prompt: the rest of a long one is none. */
static bool is_quick(const struct job *j) {
    return !j->chat.background && (j->prompt_tokens - j->cached_tokens) * j->read_ns <= QUICK_NS &&
           job_todo(j) * j->read_ns <= QUICK_NS;
}

/* Whether a's prompt is to be computed before b's, which has its slot since later: see
 * forecast_order_ns(). */
static bool computed_before(const struct sched *s, const struct job *a, const struct job *b) {
    if (a->chat.background != b->chat.background)
        return b->chat.background;
    return forecast_order_ns(&s->forecast, (double)a->submitted_ns, job_todo(a)) <=
           forecast_order_ns(&s->forecast, (double)b->submitted_ns, job_todo(b));
}

static bool stands_back(const struct job *j, bool people) {
    return j->unsettled || (j->chat.background && people);
}

/* Tokens of a partial answer were said one by one; so they are computed, where it matters. */
static bool one_by_one(const struct sched *s, const struct job *j) {
    return s->model->info.rows && j->chat.exact && j->chat.partial &&
           j->slot->computed >= j->prompt_tokens - j->chat.partial;
}

/* Whether the job takes one token of a step, as running answers do. */
static bool steps_on(const struct sched *s, const struct job *j) {
    return job_generating(j) || one_by_one(s, j);
}

static struct job *next_prefill(struct sched *s, bool people) {
    struct job *best = NULL;
    for (struct job *j = s->running; j; j = j->next)
        if (!steps_on(s, j) && j->computed_after == j->slot->computed && !stands_back(j, people) &&
            (!best || !computed_before(s, best, j)))
            best = j;
    return best;
}

/* Without answers to keep going there is no reason to hold back. */
int sched_chunk(const struct sched *s, int answers, bool quick) {
    const struct forecast *f = &s->forecast;
    double ns = forecast_piece_ns(f, answers);
    if (quick && ns < QUICK_PIECE_NS)
        ns = QUICK_PIECE_NS;
    double n = (ns - (s->model->info.rows ? f->base_ns : 0)) / forecast_token_ns(f);
    if (answers == 0 || n > s->model->info.step_tokens)
        return s->model->info.step_tokens;
    return n < CHUNK_MIN ? CHUNK_MIN : (int)n;
}

/* Whether somebody's answer is on its way beside the background's; every so often that is
 * overlooked. */
static bool people_run(struct sched *s) {
    bool people = false, background = false;
    for (const struct job *j = s->running; j; j = j->next) {
        people |= !j->chat.background;
        background |= j->chat.background;
    }
    return people && background ? ++s->background_steps % STAND_BACK != 0 : people;
}

/* What others computed meanwhile is not computed again. What that moves may have to come first:
 * then the job is unsettled. */
static void catch_up(struct sched *s, struct job *j) {
    int saved = s->model->info.cuts ? slots_catch_up(s->slots, j->slot) : 0;
    j->computed_after = j->slot->computed;
    if (saved > 0) {
        j->unsettled = s->unsettled = slots_moves(s->slots);
        sched_settle(s);
        j->cached_tokens += j->answer_tokens ? 0 : saved;
        metric_add(M_ENGINE_REUSED_TOKENS, saved);
    }
}

double sched_moved_share(const struct sched *s, int answers) {
    return s->moved_ns / forecast_piece_ns(&s->forecast, answers);
}

/* How many tokens of its prompt a job gets in a step beside so many answers: equal pieces, by the
 * forecast; of a long prompt as many as fit at what the tokens of its last pieces took. */
static int piece_of(const struct sched *s, const struct job *j, int answers) {
    int want = job_todo(j), most = sched_chunk(s, answers, is_quick(j));
    int own = j->prompt_tokens - j->chat.partial - j->slot->computed; /* before the answer */
    if (s->model->info.rows && j->chat.exact && j->chat.partial && own < want)
        want = own > 0 ? own : 1; /* others' computing may have brought it into the answer */
    if (answers > 0 && j->depth_ns > 0 && !is_quick(j)) {
        double ns = forecast_piece_ns(&s->forecast, answers) - s->forecast.base_ns;
        double fit = fmin(ns / j->depth_ns, s->model->info.step_tokens);
        most = fit < CHUNK_LEAST ? CHUNK_LEAST : (int)fit;
    }
    if (answers > 0 && !is_quick(j)) {
        most = (int)(most * (1 - sched_moved_share(s, answers)));
        most = most < CHUNK_LEAST ? CHUNK_LEAST : most;
    }
    int parts = (want + most - 1) / most;
    return (want + parts - 1) / parts;
}

/* Gives prompts their part of the step; returns how many items there are now. */
static int add_prefill(struct sched *s, int n, int decodes, bool people) {
    int room = s->model->info.step_tokens - n, prefill = 0;
    int budget = sched_chunk(s, decodes, true),
        joined = budget < JOIN_TOKENS ? budget : JOIN_TOKENS;
    for (struct job *j; room > 0 && (j = next_prefill(s, people)) != NULL;) {
        catch_up(s, j);
        /* Others join the first only as long as that costs it next to nothing, so that the first
         * to be computed is the first to be answered. */
        if (prefill > 0 && prefill + job_todo(j) > joined)
            break;
        int take = piece_of(s, j, decodes);
        take = take < room ? take : room;
        n = add_items(s, j, n, take);
        prefill += take;
        room -= take;
    }
    return n;
}

/* Whether a piece that takes so long is computed after others, before the answers' next step: when
 * all of them take no longer than one of a long prompt may, or, if it is a short one's, than PACE
 * plain steps; or, up to QUICK_PIECE_NS, when the time that a step costs those who wait for their
 * first words, FIRST_WORDS times, is more than what the piece costs the answers. Many who come
 * together then have theirs sooner, and few answers wait. */
static bool goes_on(const struct sched *s, const struct job *j, double ns, int decodes) {
    double step = forecast_step_ns(&s->forecast, decodes, 0), all = s->prefill_ns + ns;
    int waiting = 0;
    all += is_quick(j) ? 0 : s->moved_ns;
    if (decodes == 0 || s->prefill_ns <= 0)
        return true;
    if (all <= (is_quick(j) ? PACE * step : forecast_piece_ns(&s->forecast, decodes)))
        return true;
    for (const struct job *w = s->running; w; w = w->next)
        waiting += w->answer_tokens == 0 && !w->chat.background;
    return is_quick(j) && all <= QUICK_PIECE_NS && FIRST_WORDS * waiting * step >= decodes * ns;
}

/* With rows a prompt is a pass of its own, so it is a step of its own, too: its first word need not
 * wait for the answers' pass. Between two steps of running answers prompts get one piece, and as
 * many more as goes_on() says. Returns how many items there are, 0: it is the answers' turn. */
static int add_own_prefill(struct sched *s, int decodes, bool people) {
    struct job *j = next_prefill(s, people);
    if (!j || (decodes > 0 && !is_quick(j) && sched_moved_share(s, decodes) > SCHED_MOVED_MUCH))
        return 0;
    catch_up(s, j);
    if (j->unsettled)
        return 0;
    int take = piece_of(s, j, decodes);
    double token_ns =
        j->depth_ns > 0 && !is_quick(j) ? j->depth_ns : forecast_token_ns(&s->forecast);
    double ns = s->forecast.base_ns + take * token_ns;
    if (!goes_on(s, j, ns, decodes))
        return 0;
    s->prefill_ns += ns;
    j->piece_ns = ns;
    return add_items(s, j, 0, take);
}

struct step { /* what takes part */
    int items, with_logits, prefill, sequences;
    int decodes; /* answers that go on, in this step or in the next */
    /* Of a further piece of a long prompt what it is to take; its tokens tell little of those of
     * others. 0 = it is none. */
    double deep_ns;
};

/* Those that are to answer side by side. */
static void pack(struct sched *s, bool people) {
    struct slot *slots[SLOTS_MAX];
    int n = 0;
    for (struct job *j = s->running; j; j = j->next)
        if (steps_on(s, j) && !stands_back(j, people))
            slots[n++] = j->slot;
    if (n > 1)
        slots_pack(s->slots, slots, n);
    for (struct job *j = s->running; j; j = j->next)
        j->computed_after = j->slot->computed; /* what a move lost is to be computed again */
}

/* A token of each running answer, and guesses; returns how many items there are. */
static int add_answers(struct sched *s, int decodes, int waiting, bool people) {
    int n = 0, guessed = 0, outputs = s->model->info.sequences;
    for (struct job *j = s->running; j; j = j->next) {
        if (!steps_on(s, j) || stands_back(j, people))
            continue;
        n = add_items(s, j, n, 1);
        /* Nothing is guessed while somebody waits for a first word. */
        if (s->o.no_guesses || !s->model->info.cuts || waiting > 0)
            continue;
        n = add_guesses(s, j, n, outputs - decodes - guessed, decodes);
        guessed += j->n_draft;
    }
    return n;
}

/* Fills s->items. */
static struct step build_step(struct sched *s) {
    struct step step = {0};
    int n = 0, decodes = 0, waiting = 0;
    bool people = people_run(s), rows = s->model->info.rows;
    for (struct job *j = s->running; j; j = j->next) {
        j->item = -1;
        j->n_draft = 0;
        j->piece_ns = 0;
        j->computed_after = j->slot->computed;
        decodes += steps_on(s, j) && !stands_back(j, people);
        waiting += !job_generating(j);
    }
    pthread_mutex_lock(&s->lock);
    s->n_live = 0;
    pthread_mutex_unlock(&s->lock);
    if (rows)
        step.prefill = n = add_own_prefill(s, decodes, people);
    if (n == 0) {
        if (!s->unsettled)
            pack(s, people);
        s->prefill_ns = s->moved_ns = 0;
        int answers = n = add_answers(s, decodes, waiting, people);
        if (!rows)
            n = add_prefill(s, n, decodes, people);
        if (n == 0) /* all was lost in a move */
            n = add_own_prefill(s, 0, people);
        step.prefill = n - answers;
    }
    pthread_mutex_lock(&s->lock);
    step.sequences = s->n_live;
    if (s->n_live > 0 && !s->stop) /* one was cancelled before the others were added */
        atomic_store(&s->abort, false);
    pthread_mutex_unlock(&s->lock);
    step.decodes = decodes;
    for (const struct job *j = s->running; j; j = j->next)
        if (j->piece_ns > 0 && j->depth_ns > 0 && !is_quick(j))
            step.deep_ns = j->piece_ns;
    for (int i = 0; i < n; i++)
        step.with_logits += s->items[i].logits;
    step.items = n;
    return step;
}

/* ---- what comes of it ---- */

static void tell_token(struct job *j, const struct sampled *token, int forced) {
    const struct sched_event e = {
        .token = *token,
        .forced = forced,
        .prompt_tokens = j->prompt_tokens,
        .cached_tokens = j->cached_tokens,
        .answer_tokens = j->answer_tokens,
    };
    j->chat.on_event(j->chat.ctx, &e);
}

/* Leaves the tokens whose text goes along the bytes that must come; all of them when none does. */
static void keep_forced(struct sched *s, struct job *j, float *logits) {
    const char *rest = j->chat.forced + j->forced_done;
    int left = j->chat.n_forced - j->forced_done, fitting = 0;
    char piece[512];
    for (int pass = 0; pass < 2; pass++)
        for (int32_t t = 0; t < s->model->info.vocabulary; t++) {
            int n = s->model->ops->piece(s->model, t, piece, sizeof(piece));
            bool fits = n > 0 && memcmp(piece, rest, (size_t)(n < left ? n : left)) == 0;
            if (pass == 0)
                fitting += fits;
            else if (!fits && fitting)
                logits[t] = -INFINITY;
        }
    if (!fitting)
        j->forced_done = j->chat.n_forced;
}

/* The bytes of the token that were forced. */
static int forced_bytes(struct sched *s, struct job *j, int32_t token) {
    char piece[512];
    if (j->forced_done >= j->chat.n_forced)
        return 0;
    int n = s->model->ops->piece(s->model, token, piece, sizeof(piece));
    int left = j->chat.n_forced - j->forced_done;
    n = n < left ? n : left;
    j->forced_done += n;
    return n;
}

static void measure(struct sched *s, struct job *j) {
    int64_t now = clock_mono_ns();
    if (j->answer_tokens == 0) {
        metric_observe(M_ENGINE_TTFT_SECONDS, (double)(now - j->chat.arrived_ns) / 1e9);
        if (sched_was_promised(s, j))
            forecast_check(&s->forecast, j->predicted_ns, (double)(now - j->submitted_ns));
    } else {
        metric_observe(M_ENGINE_TOKEN_SECONDS, (double)(now - j->token_ns) / 1e9);
    }
    j->token_ns = now;
    metric_add(M_ENGINE_DECODE_TOKENS, 1);
}

/* Chooses a job's next token; -1: it was the last, and the job is gone. */
static int32_t sample(struct sched *s, struct job *j, int item) {
    struct sampled token;
    float *logits = s->model->ops->logits(s->model, item);
    if (j->forced_done < j->chat.n_forced)
        keep_forced(s, j, logits);
    pthread_mutex_unlock(&s->state); /* nobody else has a sampler, or ends a running job */
    sampler_next(j->sampler, logits, &token);
    pthread_mutex_lock(&s->state);
    if (token.token < 0) {
        struct errinfo ei;
        err_set(&ei, ERR_INVALID,
                "no token that \"logit_bias\" leaves fits what \"response_format\" wants next");
        sched_end_job(s, j, SCHED_FAILED, &ei);
        return -1;
    }
    if (j->answer_tokens == 0 && sched_end_late(s, j, clock_mono_ns()))
        return -1;
    int forced = forced_bytes(s, j, token.token);
    fairness_charge(j->account, 2); /* a decoded token costs about two prefilled ones */
    if (s->model->ops->is_end(s->model, token.token)) {
        sched_end_job(s, j, SCHED_STOP, NULL);
        return -1;
    }
    measure(s, j);
    j->answer_tokens++;
    tell_token(j, &token, forced);
    if (j->guide && guide_done(j->guide)) { /* only an end could follow: it need not be computed */
        sched_end_job(s, j, SCHED_STOP, NULL);
        return -1;
    }
    if (j->answer_tokens >= j->chat.max_tokens || j->slot->tokens.n >= s->model->info.window) {
        sched_end_job(s, j, SCHED_LENGTH, NULL);
        return -1;
    }
    int32_t kept = model_token_with(token.token, j->chat.adapter);
    if (tokens_add(&j->slot->tokens, &kept, 1)) {
        struct errinfo ei;
        err_set(&ei, ERR_NOMEM, NULL);
        sched_end_job(s, j, SCHED_FAILED, &ei);
        return -1;
    }
    return kept;
}

/* The next token, and as many more as were guessed right: after each right guess the logits that
 * follow it are there already. */
static void sample_all(struct sched *s, struct job *j) {
    struct slot *slot = j->slot;
    int guessed = j->n_draft, right = 0, first = j->item, after = slot->computed;
    slot->computed -= guessed;
    metric_add(M_ENGINE_GUESSED_TOKENS, guessed);
    for (;;) {
        int32_t token = sample(s, j, first + right);
        if (token < 0)
            return; /* with its slot cut to what is right */
        if (right == guessed || token != j->draft[right])
            break;
        right++;
        slot->computed++;
        metric_add(M_ENGINE_RIGHT_TOKENS, 1);
    }
    if (guessed)
        lookup_learn(&j->lookup, guessed, right);
    if (slot->computed < after)
        (void)s->model->ops->seq_trim(s->model, slot->sequence, slot->computed);
}

/* What a piece took its tokens took, the rest of a pass being as always. More counts at once, as
 * tokens take longer the later in a prompt they are. */
static void learn_piece(const struct sched *s, struct job *j, int tokens, double took_ns) {
    double base = fmin(s->forecast.base_ns, 0.9 * took_ns);
    double before = j->depth_ns > 0 ? j->depth_ns : forecast_token_ns(&s->forecast);
    double token = fmin((took_ns - base) / tokens, before * DEARER);
    j->depth_ns = token > before ? token : before + (token - before) * CHEAPER;
}

static void after_step(struct sched *s, double took_ns) {
    for (struct job *j = s->running, *next; j; j = next) {
        next = j->next;
        int tokens = j->computed_after - j->slot->computed;
        if (!job_generating(j))
            fairness_charge(j->account, tokens);
        if (j->piece_ns > 0 && tokens > 0)
            learn_piece(s, j, tokens, took_ns);
        j->slot->computed = j->computed_after;
        if (!j->prefix_kept && j->slot->computed >= j->chat.prefix) {
            slots_keep_prefix(s->slots, j->slot, j->chat.prefix);
            s->unsettled = slots_moves(s->slots);
            j->prefix_kept = true;
        }
        if (j->item >= 0)
            sample_all(s, j);
    }
}

/* The step's sequences are cut back to what they held before; a failure that is not an abort ends
 * the requests. */
static void after_failure(struct sched *s, enum err e, const struct errinfo *ei) {
    for (struct job *j = s->running, *next; j; j = next) {
        next = j->next;
        if (j->computed_after == j->slot->computed)
            continue;
        if (e == ERR_CANCELLED &&
            s->model->ops->seq_trim(s->model, j->slot->sequence, j->slot->computed))
            continue;
        if (e == ERR_CANCELLED) { /* cannot be cut: its tokens are computed again */
            j->slot->computed = 0;
            continue;
        }
        slots_clear(s->slots, j->slot);
        sched_end_job(s, j, SCHED_FAILED, ei);
    }
}

/* Whether nobody but the background takes part. */
static bool only_background(const struct sched *s) {
    for (const struct job *j = s->running; j; j = j->next)
        if (!j->chat.background && j->computed_after != j->slot->computed)
            return false;
    return true;
}

/* The pace of running answers: with the prompts that are computed between their steps. */
static void learn_pace(struct sched *s, const struct step *step, double took) {
    if (step->prefill < step->items) {
        forecast_paced(&s->forecast, took + s->between_ns);
        s->between_ns = 0;
    } else if (step->decodes > 0) {
        s->between_ns += took;
    }
}

/* What a step of answers takes when nothing else was computed just before it, and when it was. */
static void learn_answers(struct sched *s, const struct step *step, double took) {
    bool answers = step->prefill == 0 && step->items == step->decodes;
    if (answers && s->calm >= 0)
        forecast_answers(&s->forecast, step->items, s->calm == step->items, took);
    s->calm = answers ? step->items : 0;
}

static enum err compute(struct sched *s, const struct step *step, double *ret_ns,
                        struct errinfo *ei) {
    int64_t begin = clock_mono_ns();
    double predicted =
        forecast_step_ns(&s->forecast, step->with_logits, step->items - step->with_logits);
    predicted = fmax(predicted, step->deep_ns);
    s->step_ends_ns = begin + (int64_t)predicted;
    s->yields = only_background(s);
    pthread_mutex_unlock(&s->state);
    enum err e = s->model->ops->step(s->model, s->items, step->items, ei);
    pthread_mutex_lock(&s->state);
    s->yields = false;
    double took = *ret_ns = (double)(clock_mono_ns() - begin);
    s->step_ends_ns = 0;
    metric_add(M_ENGINE_STEPS, 1);
    metric_observe(M_ENGINE_STEP_SECONDS, took / 1e9);
    if (e)
        return e;
    if (step->deep_ns <= 0)
        forecast_learn(&s->forecast, step->with_logits, step->items - step->with_logits, took);
    learn_pace(s, step, forecast_bounded(took, predicted));
    learn_answers(s, step, forecast_bounded(took, predicted));
    return ERR_OK;
}

void sched_chat_step(struct sched *s) {
    struct errinfo ei = {0};
    struct step step = build_step(s);
    double took;
    if (step.items == 0)
        return; /* all of them wait for what moves */
    enum err e = compute(s, &step, &took, &ei);
    while (e == ERR_OVERLOADED && slots_evict(s->slots))
        e = compute(s, &step, &took, &ei);
    pthread_mutex_lock(&s->lock);
    s->n_live = 0;
    pthread_mutex_unlock(&s->lock);
    if (e) {
        after_failure(s, e, &ei);
        return;
    }
    metric_add(M_ENGINE_PREFILL_TOKENS, step.prefill);
    metric_add(M_ENGINE_STEP_SEQUENCES, step.sequences);
    after_step(s, took);
    sched_keep(s);
    metric_set(M_ENGINE_KV_TOKENS, slots_tokens(s->slots));
    metric_set(M_ENGINE_SHELF_BYTES, (int64_t)slots_shelf_bytes(s->slots));
}
