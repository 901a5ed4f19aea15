/* Before the model is asked, learning is: which variant of the role answers, and whether the first
 * question of a conversation has an answer that a person approved (step recall). Such an answer is
 * served without the model, through the same sinks; answers to like questions are shown to the
 * model as examples. */
#include <stdio.h>

#include "base/metrics.h"
#include "text/tokens.h"
#include "turn/passages.h"
#include "turn/turn_internal.h"

#define EXAMPLES_MAX 2400 /* bytes of approved answers in a prompt */
#define TOKEN_BYTES  4    /* of prose, about */

void turn_choose_arm(struct turn *t) {
    const struct turn_learn *l = t->t->o.learn;
    struct turn_arm *arm = &t->arm;
    *arm = (struct turn_arm){.chance = 1, .temperature = -1, .top_p = -1, .ranked_chance = 1};
    if (!l)
        return;
    l->choose(l->ctx, &t->role, &t->in.conversation_id, &t->stream->message_id, t->arena, arm);
    if (arm->model.n && !upstream_has_model(t->t->o.upstream, arm->model)) {
        /* A variant whose model is gone answers nobody: the role does, as it is. */
        arm->arm_id = (struct uuid){0};
        arm->chance = 1;
        return;
    }
    if (!uuid_is_set(&arm->arm_id))
        return;
    if (arm->system_prompt.p)
        t->role.system_prompt = arm->system_prompt;
    if (arm->model.p)
        t->role.model = arm->model;
    if (arm->temperature >= 0)
        t->role.temperature = arm->temperature;
    if (arm->top_p >= 0)
        t->role.top_p = arm->top_p;
}

/* Only the first question stands for itself, and only without documents; later ones lean on what
 * was said before. */
static bool stands_alone(const struct turn *t) {
    return t->in.kind == TURN_MESSAGE && t->n_branch == 1 && !t->in.n_attachments;
}

/* Behind the role's prompt, so that the conversation's prompt grows at its end only; within a part
 * of what may be computed before the first word. */
static void add_examples(struct turn *t, const float *v, int dimensions, struct str model) {
    const struct turn_learn *l = t->t->o.learn;
    int question = text_tokens(t->branch[t->n_branch - 1].content);
    int tokens = passages_budget(t->t->o.upstream, t->model, question, t->in.arrived_ns) / 3;
    size_t room = (size_t)tokens * TOKEN_BYTES;
    struct turn_examples *x = &t->examples;
    l->find_examples(l->ctx, &t->role.role_id, &t->in.conversation_id, v, dimensions, model,
                     room < EXAMPLES_MAX ? room : EXAMPLES_MAX, t->arena, x);
    struct str text = x->shown ? x->text : STR_NULL, role = t->role.system_prompt;
    char *both = text.p ? arena_alloc(t->arena, role.n + 2 + text.n) : NULL;
    if (!both) {
        if (text.p) /* no memory: it was no fair trial */
            *x = (struct turn_examples){.chance = 1};
        return;
    }
    if (role.n)
        memcpy(both, role.p, role.n);
    memcpy(both + role.n, "\n\n", 2);
    memcpy(both + role.n + 2, text.p, text.n);
    t->role.system_prompt = (struct str){both, role.n + 2 + text.n};
    t->examples_n = text_tokens(text);
}

static void find(struct turn *t, const float *vector, int dimensions, struct str model) {
    const struct turn_learn *l = t->t->o.learn;
    if (stands_alone(t) &&
        l->find_answer(l->ctx, &t->role.role_id, t->in.content, vector, dimensions, model, t->arena,
                       &t->approved_id, &t->approved))
        metric_add(M_APPROVED_SERVED, 1);
    else
        add_examples(t, vector, dimensions, model);
}

static void on_embedded(void *ctx, const struct embed_result *r) {
    struct turn *t = ctx;
    t->counting = NULL;
    if (!r->err && r->n == 1)
        find(t, r->vectors, r->dimensions, r->model);
    turn_continue(t);
}

/* The examples are those for the question that began the conversation: at each turn the same. */
enum step_result turn_step_recall(struct turn *t, struct errinfo *ei) {
    const struct turn_learn *l = t->t->o.learn;
    if (!l || t->n_branch == 0 || !l->has_answers(l->ctx, &t->role.role_id))
        return STEP_DONE;
    const float *vector = NULL;
    int dimensions;
    if (stands_alone(t) && !turn_guard_vector(t, t->in.content, &vector, &dimensions))
        return STEP_WAIT;
    if (vector) {
        find(t, vector, dimensions, str_from(t->guard.embedding_model));
        return STEP_DONE;
    }
    if (upstream_embed(t->tl->client, STR_NULL, &t->branch[0].content, 1, UPSTREAM_EMBED_PLAIN,
                       on_embedded, t, &t->counting, ei))
        return STEP_DONE; /* without embeddings the model answers */
    return STEP_WAIT;
}

void turn_serve_approved(struct turn *t) {
    enum err e = turn_take(t, t->approved);
    if (e)
        t->failure = turn_explain(e, NULL);
    /* That nothing was found was approved by nobody. */
    snprintf(t->finish_reason, sizeof t->finish_reason,
             uuid_is_set(&t->approved_id) ? "approved" : "stop");
    t->answered = true;
}

void turn_tell_learning(const struct turn *t) {
    const struct turn_learn *l = t->t->o.learn;
    struct turn_ended e = {.role_id = t->role.role_id,
                           .arm_id = t->arm.arm_id,
                           .candidate_id = t->arm.candidate_id,
                           .ranked = t->arm.ranked,
                           .unsafe = t->unsafe,
                           .failed = t->failure.code != ERR_OK,
                           .ttft_ms = t->answer.ttft_ms};
    if (l && !uuid_is_set(&t->approved_id) && !t->left_out) /* else it was no fair trial */
        l->ended(l->ctx, &e);
}
