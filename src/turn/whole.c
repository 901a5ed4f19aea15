/* Answers that are over at once. When all of an answer has come before the store takes its
 * question, both are stored in one write and for good, and `finish` has nothing to do: a share of a
 * transaction less, and two changes of threads.
 *
 *   append ─→ were answers of late quick? ── no ──→ QUEUED ── the answer is there in time ─→ WHOLE
 *                  └ yes: waits until all of it is there, MOST_MS at most ─→ QUEUED ─────────┘
 *
 * A question waits only where the answers of late were there before anybody could notice; one that
 * waited in vain counts among them, so that of a model server that hangs a few do. All of this runs
 * on the turn's loop. */
#include "base/clock.h"
#include "turn/turn_internal.h"

#define QUICK_NS (20 * MS) /* answers of late were whole after so long, on average */
#define MOST_MS  40ll      /* so long a question waits for its answer */
#define LATE_OF  8         /* one in so many makes the average */

int64_t whole_average_ns(int64_t average_ns, int64_t took_ns) {
    if (took_ns < 1)
        took_ns = 1;
    return average_ns ? average_ns + (took_ns - average_ns) / LATE_OF : took_ns;
}

static void note(struct turn *t, int64_t until_ns) {
    t->tl->answer_ns = whole_average_ns(t->tl->answer_ns, until_ns - t->asked_ns);
}

void turn_whole_note(struct turn *t) {
    note(t, t->told_ns);
}

/* What was begun before, broke off, was cut off or has passages to be checked goes the long way. */
static bool can_be_whole(const struct turn *t) {
    return t->in.kind != TURN_RESUME && !t->failure.code && !t->stopping && !t->guard.refused &&
           !t->guard.cut_off && !t->answer.retrieved_docs.n && t->answer.model.n;
}

bool turn_whole_wait(struct turn *t) {
    int64_t now = clock_mono_ns(), lately = t->tl->answer_ns;
    bool quick = lately && lately <= QUICK_NS;
    t->whole_waits = false;
    if (t->answered || t->approved.n || !can_be_whole(t) || (!quick && !t->whole_until_ns))
        return false;
    if (!t->whole_until_ns)
        t->whole_until_ns = now + MOST_MS * MS;
    t->whole_waits = now < t->whole_until_ns;
    if (t->whole_waits)
        timer_start(t->retry, (t->whole_until_ns - now) / MS + 1, false); /* asks again */
    else
        note(t, now);
    return t->whole_waits;
}

/* Its latencies are those of now, without the time of the write. */
static void make_whole(struct turn *t) {
    enum append_state queued = APPEND_QUEUED;
    if (!can_be_whole(t) || !t->stream->text.n || atomic_load(&t->append) != APPEND_QUEUED)
        return;
    turn_describe_answer(t, MESSAGE_COMPLETE, &t->whole);
    t->whole.ttft_ms = t->whole.response_latency_ms;
    (void)atomic_compare_exchange_strong(&t->append, &queued, APPEND_WHOLE); /* else it is taken */
}

void turn_whole_make(struct turn *t) {
    if (!t->whole_waits) {
        make_whole(t);
        return;
    }
    t->whole_waits = false;
    timer_stop(t->retry);
    turn_run(t);
}
