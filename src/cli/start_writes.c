/* See start_writes.h. */
#include "cli/start_writes.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "auth/auth.h"
#include "base/clock.h"
#include "base/log.h"
#include "cli/first_account.h"

#define LINK_LOOK_MS 2000 /* while the link is out: whether it has done its work */

/* ---- the parts ---- */

/* Any thread that may wait for the store. *ret_link: "" when there is an account. */
static enum err write_accounts(struct start_writes *w, char *ret_link, size_t size,
                               struct errinfo *ei) {
    enum err e = store_write_wait(w->store, api_seed, NULL, ei);
    return e ? e : first_account_link(w->store, w->config, w->address, ret_link, size, ei);
}

static void tell_link(struct start_writes *w, const char *link) {
    w->link_out = link[0] != 0;
    if (!w->link_out || !w->tells)
        return;
    printf("Make the first account (the administrator) with this one-time link: %s\n", link);
    fflush(stdout);
}

static enum err recover(struct start_writes *w, struct errinfo *ei) {
    int64_t n = 0, given_up = 0;
    enum err e = turns_recover(w->turns, &n, &given_up, ei);
    if (!e && (n || given_up))
        log_event(LOG_WARN, "server.recovered", LF_INT("answers", n), LF_INT("given_up", given_up));
    return e;
}

enum err start_writes_accounts(struct start_writes *w, struct errinfo *ei) {
    enum err e = write_accounts(w, w->now.link, sizeof w->now.link, ei);
    w->accounts_due = e != ERR_OK;
    if (!e)
        tell_link(w, w->now.link);
    return e;
}

enum err start_writes_answers(struct start_writes *w, struct errinfo *ei) {
    enum err e = recover(w, ei);
    w->answers_due = e != ERR_OK;
    return e;
}

/* ---- later ---- */

static void try_job(void *arg) {
    struct start_writes *w = arg;
    struct errinfo ei = {0};
    enum err e = ERR_OK;
    if (w->now.accounts && !(e = write_accounts(w, w->now.link, sizeof w->now.link, &ei)))
        w->now.accounts = false;
    if (!e && w->now.answers && !(e = recover(w, &ei)))
        w->now.answers = false;
    if (e)
        log_event(LOG_WARN, "server.not_recovered", LF_ERR(&ei));
}

static void on_tried(void *arg) {
    struct start_writes *w = arg;
    bool had_accounts = w->accounts_due;
    w->trying = false;
    w->accounts_due = w->now.accounts;
    /* Those of a process that has ended meanwhile are not among what was tried. */
    w->answers_due = w->now.answers || w->answers_due;
    if (had_accounts && !w->accounts_due)
        tell_link(w, w->now.link);
    if (w->now.accounts || w->now.answers)
        retry_failed(&w->retry, clock_mono_ns());
    else
        retry_succeeded(&w->retry);
}

/* After a failure only when the store has been written since. */
static void try_what_is_due(struct start_writes *w, int64_t now_ns) {
    bool failed = w->retry.wait_ms || store_is_read_only(w->store);
    if (w->trying || !(w->accounts_due || w->answers_due) || !retry_is_due(&w->retry, now_ns) ||
        (failed && store_health(w->store, NULL) != ERR_OK))
        return;
    w->now.accounts = w->accounts_due;
    w->now.answers = w->answers_due;
    w->trying = jobs_submit(w->jobs, try_job, w->loop, on_tried, w) == ERR_OK;
    if (w->trying)
        w->answers_due = false; /* on_tried() knows */
}

/* ---- the link's file goes soon after the first administrator came, by whatever way ---- */

static enum err read_setup(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct start_writes *w = arg;
    bool required = true;
    enum err e = auth_setup_required(tx, &required);
    w->link_used = !required;
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

static void setup_read(void *arg, enum err err, const struct errinfo *ei) {
    struct start_writes *w = arg;
    (void)ei;
    w->link_looking = false;
    if (err || !w->link_used)
        return;
    unlink(w->config->setup_link);
    w->link_out = false;
}

static void look_at_link(struct start_writes *w, int64_t now_ns) {
    if (!w->link_out || w->link_looking ||
        now_ns - w->link_looked_ns < (int64_t)LINK_LOOK_MS * 1000000)
        return;
    w->link_looked_ns = now_ns;
    w->link_looking = store_read(w->store, read_setup, w, w->loop, setup_read) == ERR_OK;
}

void start_writes_look(struct start_writes *w, int64_t now_ns) {
    look_at_link(w, now_ns);
    try_what_is_due(w, now_ns);
}
