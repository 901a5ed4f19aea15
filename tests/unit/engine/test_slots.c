/* Slots whose sequences lie in rows of their own: those that answer together get numbers that
 * follow each other, and what they hold goes along. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "engine/slots.h"
#include "unit/engine/scripted_model.c"

#define TEXT_A "a role that several have, of some length|question one>"
#define TEXT_B "a role that several have, of some length|question two>"

#define SLOTS    6
#define PREFIXES 2

struct fixture {
    struct scripted_model m;
    struct slots *slots;
};

static int set_up(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));
    const struct slots_options o = {.slots = SLOTS,
                                    .prefixes = PREFIXES,
                                    .prefix_tokens = 100,
                                    .cells = SLOTS * SCRIPTED_WINDOW};
    scripted_init(&f->m);
    f->m.base.info.rows = true;
    *state = f;
    return slots_new(&f->m.base, &o, &f->slots) != ERR_OK;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    slots_free(f->slots);
    scripted_deinit(&f->m);
    free(f);
    return 0;
}

/* A slot whose prompt is computed. */
static struct slot *begin(struct fixture *f, const char *text) {
    struct tokens prompt = {0};
    enum slots_source source;
    struct errinfo ei;
    assert_int_equal(f->m.base.ops->tokenize(&f->m.base, str_from(text), true, &prompt), ERR_OK);
    struct slot *slot = slots_acquire(f->slots, &prompt, prompt.n + 10, 0, &source);
    assert_non_null(slot);
    for (; slot->computed < slot->tokens.n; slot->computed++) {
        const struct model_item item = {.sequence = slot->sequence,
                                        .position = slot->computed,
                                        .token = slot->tokens.p[slot->computed]};
        assert_int_equal(f->m.base.ops->step(&f->m.base, &item, 1, &ei), ERR_OK);
    }
    return slot;
}

static void assert_holds(struct fixture *f, const struct slot *slot, const char *text) {
    const struct tokens *t = &f->m.seqs[slot->sequence];
    assert_int_equal(t->n, (int)strlen(text));
    assert_int_equal(slot->computed, t->n);
    for (int i = 0; i < t->n; i++)
        assert_int_equal(t->p[i], text[i]);
}

static bool follow_each_other(struct slot *const *slots, int n) {
    int low = SLOTS, high = 0;
    for (int i = 0; i < n; i++) {
        low = slots[i]->sequence < low ? slots[i]->sequence : low;
        high = slots[i]->sequence > high ? slots[i]->sequence : high;
    }
    return high - low + 1 == n;
}

static void slots_with_a_gap_are_brought_together_with_what_they_hold(void **state) {
    struct fixture *f = *state;
    struct slot *a = begin(f, "first one"), *b = begin(f, "second"), *c = begin(f, "third, longer");
    struct slot *d = begin(f, "fourth");
    slots_release(f->slots, b);
    struct slot *left[] = {a, c, d};
    assert_false(follow_each_other(left, 3));
    slots_pack(f->slots, left, 3);
    assert_true(follow_each_other(left, 3));
    assert_int_equal(f->m.swaps, 1);
    assert_holds(f, a, "first one");
    assert_holds(f, b, "second"); /* idle, and still worth something */
    assert_holds(f, c, "third, longer");
    assert_holds(f, d, "fourth");
    slots_pack(f->slots, left, 3);
    assert_int_equal(f->m.swaps, 1);
}

static void wide_gaps_take_a_move_for_each(void **state) {
    struct fixture *f = *state;
    const char *const texts[SLOTS] = {"a", "bb", "ccc", "dddd", "eeeee", "ffffff"};
    struct slot *all[SLOTS];
    for (int i = 0; i < SLOTS; i++)
        all[i] = begin(f, texts[i]);
    struct slot *some[] = {all[5], all[0], all[3]};
    slots_pack(f->slots, some, 3);
    assert_true(follow_each_other(some, 3));
    for (int i = 0; i < SLOTS; i++)
        assert_holds(f, all[i], texts[i]);
}

static void pool_needs_no_moves(void **state) {
    struct fixture *f = *state;
    f->m.base.info.rows = false;
    struct slot *a = begin(f, "a"), *b = begin(f, "b"), *c = begin(f, "c");
    struct slot *some[] = {a, c};
    slots_pack(f->slots, some, 2);
    assert_int_equal(f->m.swaps, 0);
    assert_holds(f, b, "b");
}

static void what_is_lost_in_a_move_is_to_be_computed_again(void **state) {
    struct fixture *f = *state;
    struct slot *a = begin(f, "first"), *b = begin(f, "second"), *c = begin(f, "third");
    slots_release(f->slots, b);
    f->m.fail_swap = 1;
    struct slot *some[] = {a, c};
    slots_pack(f->slots, some, 2);
    assert_true(follow_each_other(some, 2));
    int lost = (a->computed == 0) + (c->computed == 0);
    assert_int_equal(lost, 1);
    assert_int_equal(b->computed, 0);
    assert_int_equal(b->tokens.n, 0);
    assert_int_equal((a->computed ? c : a)->tokens.n, 5); /* its tokens are known still */
}

static void short_prefix_is_copied_rather_than_a_long_conversation(void **state) {
    struct fixture *f = *state;
    enum slots_source source;
    struct tokens prompt = {0};
    char text[220];
    memset(text, 'x', sizeof(text) - 1);
    memcpy(text, "role.", 5);
    text[sizeof(text) - 1] = 0;
    struct slot *a = begin(f, text);
    slots_keep_prefix(f->slots, a, 5);
    assert_int_equal(f->m.base.ops->tokenize(&f->m.base, STR("role.yes"), true, &prompt), ERR_OK);
    struct slot *b = slots_acquire(f->slots, &prompt, 10, 0, &source);
    assert_int_equal(source, SLOTS_COPY);
    assert_int_equal(b->computed, 5);
    assert_int_equal(f->m.copied_from, SLOTS); /* the kept one */
}

/* A newcomer's first word need not wait for what its slot held to be put away, nor for a copy of
 * the role that the slot held, too. */
static void newcomer_takes_a_slot_that_was_put_away_before(void **state) {
    struct fixture *f = *state;
    char text[160];
    slots_free(f->slots);
    const struct slots_options o = {.slots = SLOTS,
                                    .prefixes = PREFIXES,
                                    .prefix_tokens = 100,
                                    .cells = SLOTS * SCRIPTED_WINDOW,
                                    .shelf_bytes = 1 << 20};
    assert_int_equal(slots_new(&f->m.base, &o, &f->slots), ERR_OK);
    for (int i = 0; i < SLOTS; i++) {
        assert_false(slots_tidy(f->slots)); /* there is a slot that holds nothing */
        snprintf(text, sizeof(text), "role.%0120d", i);
        text[5] = (char)('a' + i);
        struct slot *slot = begin(f, text);
        slots_keep_prefix(f->slots, slot, 5);
        slots_release(f->slots, slot);
    }
    assert_true(slots_tidy(f->slots));
    assert_false(slots_tidy(f->slots)); /* once is enough */
    assert_int_equal(f->m.saves, 1);
    int copies = f->m.copies;
    struct slot *slot = begin(f, "role.new");
    assert_holds(f, slot, "role.new");
    assert_int_equal(f->m.saves, 1);
    assert_int_equal(f->m.copies, copies);
    slots_release(f->slots, slot);
    snprintf(text, sizeof(text), "role.%0120d|more", 0);
    text[5] = 'a';
    slot = begin(f, text);
    assert_int_equal(f->m.loads, 1);
    assert_holds(f, slot, text);
}

/* Two slots of two conversations of 200 tokens, and a shelf for so many; a third comes, and the
 * bytes of what it pushes out move eight at a time. */
static struct slot *third_comes(struct fixture *f, int shelf, char *old, char *older) {
    const struct slots_options o = {
        .slots = 2, .cells = 2 * SCRIPTED_WINDOW, .shelf_bytes = (size_t)shelf * sizeof(int32_t)};
    struct tokens prompt = {0};
    enum slots_source source;
    slots_free(f->slots);
    assert_int_equal(slots_new(&f->m.base, &o, &f->slots), ERR_OK);
    memset(older, 'o', 200);
    memset(old, 'p', 200);
    older[200] = old[200] = 0;
    struct slot *a = begin(f, older), *b = begin(f, old);
    slots_release(f->slots, a);
    slots_release(f->slots, b);
    clock_test_set(1000000000000, 1000);
    f->m.bytes_per_ms = 8;
    assert_int_equal(f->m.base.ops->tokenize(&f->m.base, STR("qqqq>"), true, &prompt), ERR_OK);
    struct slot *slot = slots_acquire(f->slots, &prompt, 100, 0, &source);
    assert_ptr_equal(slot, a);
    assert_false(slots_settle(f->slots, clock_mono_ns() + 3000000));
    return slot;
}

static void finish(struct fixture *f, struct slot *slot) {
    for (struct errinfo ei; slot->computed < slot->tokens.n; slot->computed++) {
        const struct model_item item = {.sequence = slot->sequence,
                                        .position = slot->computed,
                                        .token = slot->tokens.p[slot->computed]};
        assert_int_equal(f->m.base.ops->step(&f->m.base, &item, 1, &ei), ERR_OK);
    }
}

/* The conversation comes back whole, although its slot was computed on before it was put away in
 * full. */
static void what_is_pushed_out_is_whole_though_its_slot_is_used_too_early(void **state) {
    struct fixture *f = *state;
    char old[202], older[202];
    struct slot *slot = third_comes(f, 500, old, older);
    finish(f, slot);
    assert_int_equal(f->m.forced, 1);
    assert_true(slots_settle(f->slots, 0)); /* the step saw to it */
    assert_holds(f, slot, "qqqq>");
    slots_release(f->slots, slot);
    struct slot *again = begin(f, strcat(older, "x")); /* pushes out the other, and is moved back */
    assert_int_equal(f->m.loads, 1);
    assert_holds(f, again, older);
    clock_test_end();
}

static struct slot *acquire_later(struct fixture *f, const char *text) {
    struct tokens prompt = {0};
    enum slots_source source;
    assert_int_equal(f->m.base.ops->tokenize(&f->m.base, str_from(text), true, &prompt), ERR_OK);
    f->m.bytes_per_ms = 8;
    struct slot *slot = slots_acquire(f->slots, &prompt, prompt.n + 10, 0, &source);
    assert_non_null(slot);
    assert_int_equal(source, SLOTS_COPY);
    assert_true(slots_moves(f->slots));
    return slot;
}

static enum err step_of(struct fixture *f, struct slot *slot) {
    struct errinfo ei;
    const struct model_item item = {
        .sequence = slot->sequence, .position = f->m.seqs[slot->sequence].n, .token = 'n'};
    return f->m.base.ops->step(&f->m.base, &item, 1, &ei);
}

/* Who answers goes on while his beginning is copied; but nothing takes its place before it is. */
static void running_answer_goes_on_while_it_is_copied_from(void **state) {
    struct fixture *f = *state;
    clock_test_set(1000000000000, 1000);
    for (int cut = 0; cut < 2; cut++) {
        struct slot *busy = begin(f, TEXT_A);
        f->m.forced = 0;
        struct slot *other = acquire_later(f, TEXT_B);
        if (cut)
            assert_true(f->m.base.ops->seq_trim(&f->m.base, busy->sequence, 3));
        assert_int_equal(step_of(f, busy), ERR_OK);
        assert_int_equal(f->m.forced, cut);
        assert_true(slots_settle(f->slots, INT64_MAX));
        finish(f, other);
        assert_holds(f, other, TEXT_B);
        slots_clear(f->slots, busy);
        slots_clear(f->slots, other);
        slots_release(f->slots, busy);
        slots_release(f->slots, other);
    }
    clock_test_end();
}

/* A cell that such models give up may be another's in the next step. */
static void models_whose_cells_are_shared_defer_nothing(void **state) {
    struct fixture *f = *state;
    char old[202], older[202];
    f->m.uncut = true;
    f->m.base.info.cuts = false;
    const struct slots_options o = {
        .slots = 1, .cells = 2 * SCRIPTED_WINDOW, .shelf_bytes = 4000 * sizeof(int32_t)};
    slots_free(f->slots);
    assert_int_equal(slots_new(&f->m.base, &o, &f->slots), ERR_OK);
    memset(old, 'p', 201);
    memset(older, 'o', 201);
    old[201] = older[201] = 0;
    slots_release(f->slots, begin(f, old));
    slots_release(f->slots, begin(f, older));
    assert_int_equal(f->m.saves, 1);
    assert_int_equal(f->m.forced, 0);
    assert_false(slots_moves(f->slots));
}

static void prefix_and_what_catches_up_with_it_are_copied_later(void **state) {
    struct fixture *f = *state;
    clock_test_set(1000000000000, 1000);
    struct slot *one = begin(f, TEXT_A);
    struct tokens prompt = {0};
    enum slots_source source;
    assert_int_equal(f->m.base.ops->tokenize(&f->m.base, STR(TEXT_B), true, &prompt), ERR_OK);
    f->m.bytes_per_ms = 8;
    f->m.forced = 0;
    slots_keep_prefix(f->slots, one, 40);
    assert_true(slots_moves(f->slots));
    slots_clear(f->slots, one); /* only the prefix has it now */
    slots_release(f->slots, one);
    struct slot *two = slots_acquire(f->slots, &prompt, prompt.n + 10, 0, &source);
    assert_non_null(two);
    if (two->computed < 40)
        assert_int_equal(slots_catch_up(f->slots, two), 40 - two->computed);
    assert_int_equal(f->m.forced, 0);
    assert_true(slots_settle(f->slots, INT64_MAX));
    finish(f, two);
    assert_holds(f, two, TEXT_B);
    clock_test_end();
}

/* He leaves, and the next one pushes out the other conversation, for which the shelf drops the
 * state that is not yet whole. */
static void state_is_dropped_while_it_moves(void **state) {
    struct fixture *f = *state;
    char old[202], older[202];
    struct slot *slot = third_comes(f, 300, old, older);
    slots_release(f->slots, slot);
    struct slot *one = begin(f, "rrrr>");
    struct slot *two = begin(f, "ssss>");
    assert_true(one != two);
    assert_int_equal(f->m.saves, 2);
    assert_int_equal(slots_shelf_bytes(f->slots), 200 * sizeof(int32_t));
    assert_true(slots_settle(f->slots, INT64_MAX));
    assert_holds(f, one, "rrrr>");
    assert_holds(f, two, "ssss>");
    slots_release(f->slots, one);
    slots_release(f->slots, two);
    slot = begin(f, strcat(old, "x"));
    assert_int_equal(f->m.loads, 1);
    assert_holds(f, slot, old);
    clock_test_end();
}

/* With rows a newcomer beside running answers gets a slot where it need not be moved. */
static void newcomer_gets_a_slot_beside_the_running_ones(void **state) {
    struct fixture *f = *state;
    struct slot *all[SLOTS];
    for (int i = 0; i < SLOTS; i++) {
        char text[] = "x has nothing in common";
        text[0] = (char)('a' + i);
        all[i] = begin(f, text);
    }
    for (int i = 0; i < SLOTS; i++)
        if (i != 3)
            slots_release(f->slots, all[i]);
    struct slot *one = begin(f, "one"), *two = begin(f, "two");
    struct slot *running[] = {all[3], one, two};
    assert_true(follow_each_other(running, 3));
    assert_true(one != all[0] && two != all[0]);
    slots_pack(f->slots, running, 3);
    assert_int_equal(f->m.swaps, 0);
}

/* The shelf holds a conversation once, however many turns it came back for. */
static void shelf_holds_only_the_last_turn(void **state) {
    struct fixture *f = *state;
    char text[200];
    slots_free(f->slots);
    const struct slots_options o = {.slots = 1, .cells = SCRIPTED_WINDOW, .shelf_bytes = 1 << 20};
    assert_int_equal(slots_new(&f->m.base, &o, &f->slots), ERR_OK);
    for (int n = 100; n < 200; n += 80) {
        memset(text, 'x', sizeof(text));
        text[n] = 0;
        slots_release(f->slots, begin(f, text));
        assert_true(slots_tidy(f->slots));
        assert_int_equal(slots_shelf_bytes(f->slots), (size_t)n * sizeof(int32_t));
    }
}

/* What somebody else asks while a state is copied: the same as before or after. */
struct asker {
    struct slots *slots;
    int asked, depth, held;
};

static void ask_meanwhile(void *ctx, bool away) {
    struct asker *a = ctx;
    struct tokens prompt = {0};
    struct scripted_model m;
    a->depth += away ? 1 : -1;
    assert_in_range(a->depth, 0, 1);
    if (!away || !a->slots)
        return;
    scripted_init(&m);
    assert_int_equal(m.base.ops->tokenize(&m.base, STR(TEXT_A), true, &prompt), ERR_OK);
    int held = slots_held(a->slots, &prompt, 0);
    assert_in_range(held, a->held, prompt.n - 1);
    assert_in_range(slots_idle(a->slots), 0, SLOTS);
    a->asked++;
    tokens_deinit(&prompt);
    scripted_deinit(&m);
}

static void others_may_ask_while_states_are_copied(void **state) {
    struct fixture *f = *state;
    struct asker a = {0};
    const struct slots_options o = {.slots = SLOTS,
                                    .prefixes = PREFIXES,
                                    .prefix_tokens = 100,
                                    .cells = SLOTS * SCRIPTED_WINDOW,
                                    .shelf_bytes = 1 << 20,
                                    .away = ask_meanwhile,
                                    .ctx = &a};
    slots_free(f->slots);
    assert_int_equal(slots_new(&f->m.base, &o, &f->slots), ERR_OK);
    a.slots = f->slots;
    struct slot *first = begin(f, TEXT_A);
    slots_keep_prefix(f->slots, first, 40);
    a.held = 40;
    assert_int_equal(a.asked, 1);
    begin(f, TEXT_B); /* from the prefix */
    assert_int_equal(a.asked, 2);
    slots_release(f->slots, first);
    for (int i = 0; i < SLOTS; i++) { /* they push each other out, onto the shelf */
        char text[100];
        memset(text, 'c' + i, sizeof(text));
        text[99] = 0;
        slots_release(f->slots, begin(f, text));
    }
    struct slot *again = begin(f, TEXT_A);
    assert_holds(f, again, TEXT_A);
    assert_true(a.asked > 3);
    assert_int_equal(a.depth, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(slots_with_a_gap_are_brought_together_with_what_they_hold,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(wide_gaps_take_a_move_for_each, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            what_is_pushed_out_is_whole_though_its_slot_is_used_too_early, set_up, tear_down),
        cmocka_unit_test_setup_teardown(state_is_dropped_while_it_moves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(running_answer_goes_on_while_it_is_copied_from, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(models_whose_cells_are_shared_defer_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(prefix_and_what_catches_up_with_it_are_copied_later, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(pool_needs_no_moves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(others_may_ask_while_states_are_copied, set_up, tear_down),
        cmocka_unit_test_setup_teardown(newcomer_takes_a_slot_that_was_put_away_before, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(newcomer_gets_a_slot_beside_the_running_ones, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(shelf_holds_only_the_last_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_lost_in_a_move_is_to_be_computed_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(short_prefix_is_copied_rather_than_a_long_conversation,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
