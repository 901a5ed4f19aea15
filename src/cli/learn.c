/* parley learn: the learner's pass by hand, what it changed, its switches. Directly on the store,
 * beside a running server, which has what is new within seconds. */
#include <stdio.h>

#include "api/out.h"
#include "cli/desk.h"
#include "learn/learn.h"

struct learn_work {
    struct desk *desk;
    struct learn_event *events;
    struct candidate *candidates;
    size_t n;
    const char *learner;
    bool on;
};

static void report_json(const struct learn_report *r) {
    struct buf b;
    buf_init(&b, DESK_JSON_MAX);
    out_open(&b, NULL, '{');
    out_int(&b, "ratings", (int64_t)r->ratings);
    out_int(&b, "questions", (int64_t)r->questions);
    out_bool(&b, "candidate", r->made);
    out_bool(&b, "proved", r->proved);
    out_int(&b, "variants_stopped", r->arms_stopped);
    out_int(&b, "answers_proposed", r->proposed);
    out_int(&b, "answers_stale", r->stale);
    out_strz(&b, "words", r->words);
    out_close(&b, '}');
    desk_print_json(&b);
}

static int learn_run_command(const struct args *a) {
    struct desk d;
    struct learn_report r;
    int status = desk_open(&d, a, DESK_EXISTING);
    if (!status) {
        enum err e = learn_run(d.store, true, &r, &d.ei);
        status = e ? cli_fail(e, &d.ei) : CLI_OK;
    }
    if (!status && args_has(a, "json"))
        report_json(&r);
    else if (!status)
        printf("%s\n", r.words[0] ? r.words : "There is nothing to learn from yet.");
    desk_close(&d);
    return status;
}

static enum err read_events(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct learn_work *w = arg;
    struct page p = {.limit = 100};
    enum err e = learn_event_list(tx, &p, w->desk->arena, &w->events, &w->n);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

static int learn_changes_command(const struct args *a) {
    struct desk d;
    struct learn_work w = {.desk = &d};
    int status = desk_open(&d, a, DESK_EXISTING);
    if (!status)
        status = desk_read(&d, read_events, &w);
    for (size_t i = 0; !status && i < w.n; i++) {
        struct str at = desk_time(d.arena, w.events[i].at);
        printf("%.*s  %.*s\n", STR_ARG(at), STR_ARG(w.events[i].words));
    }
    if (!status && !w.n)
        printf("Feedback has not changed anything yet.\n");
    desk_close(&d);
    return status;
}

static enum err read_candidates(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct learn_work *w = arg;
    struct page p = {.limit = 100};
    enum err e = candidate_list(tx, &p, w->desk->arena, &w->candidates, &w->n);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

static int learn_candidates_command(const struct args *a) {
    static const char *const heads[] = {"CANDIDATE", "STATE", "MADE", "RATINGS", "WORDS", NULL};
    struct desk d;
    struct learn_work w = {.desk = &d};
    int status = desk_open(&d, a, DESK_EXISTING);
    if (!status)
        status = desk_read(&d, read_candidates, &w);
    if (!status) {
        struct table *t = table_new(d.arena, heads);
        for (size_t i = 0; i < w.n; i++) {
            char n[24];
            const struct candidate *c = &w.candidates[i];
            snprintf(n, sizeof n, "%lld", (long long)c->ratings);
            table_add(t, uuid_str(&c->candidate_id));
            table_add(t, c->state);
            table_add(t, desk_time(d.arena, c->created_at));
            table_add(t, arena_str(d.arena, str_from(n)));
            table_add(t, c->words);
        }
        table_print(t);
    }
    desk_close(&d);
    return status;
}

static enum err write_switch(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct learn_work *w = arg;
    return learn_switch(tx, w->learner, w->on, ei);
}

static int switch_learner(const struct args *a, bool on) {
    struct desk d;
    struct learn_work w = {.desk = &d, .learner = a->operands[1], .on = on};
    int status = desk_open(&d, a, DESK_EXISTING);
    if (!status)
        status = desk_write(&d, write_switch, &w);
    if (!status)
        printf("%s is %s.\n", a->operands[1], on ? "on" : "off");
    desk_close(&d);
    return status;
}

int cmd_learn(const struct args *a) {
    const char *what = a->n_operands ? a->operands[0] : "run";
    struct str w = str_from(what);
    bool on = str_eqz(w, "on");
    if ((on || str_eqz(w, "off")) && a->n_operands == 2)
        return switch_learner(a, on);
    if (a->n_operands < 2 && str_eqz(w, "run"))
        return learn_run_command(a);
    if (a->n_operands < 2 && str_eqz(w, "changes"))
        return learn_changes_command(a);
    if (a->n_operands < 2 && str_eqz(w, "candidates"))
        return learn_candidates_command(a);
    return cli_say(CLI_USAGE, "learn takes nothing, run, changes, candidates, on NAME or off NAME");
}
