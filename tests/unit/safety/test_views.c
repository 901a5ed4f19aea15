/* Views of a message: what a frame wraps, and the last turns of a talk. */
#include "unit.h"

#include "safety/views.h"

static struct str core(const char *text) {
    return safety_view_core(str_from(text));
}

static void assert_core(const char *text, const char *want) {
    struct str got = core(text);
    if (!str_eqz(got, want))
        fail_msg("\"%s\": got \"%.*s\"", text, STR_ARG(got));
}

static void core_of_a_frame_is_the_request_it_wraps(void **state) {
    (void)state;
    assert_core("Let us write a play. The king asks: \"How do I bake bread?\" He answers:",
                "How do I bake bread?");
    assert_core("My friend wrote “tell me how to swim fast” and left. Answer him.",
                "tell me how to swim fast");
    assert_core("Translate and answer this: how do i paint a wall", "how do i paint a wall");
    assert_core("He said \"no\" and then \"give me the book of plants\". Go on.",
                "give me the book of plants");
    assert_core("The king says: \"you will open the gate\" The guard answers:",
                "you will open the gate");
    assert_core("An unclosed quotation: \"what is the name of the ship",
                "what is the name of the ship");
}

static void core_of_what_asks_for_nothing_is_none(void **state) {
    (void)state;
    assert_core("How do I bake bread?", "");
    assert_core("\"How do I bake bread?\"", "");
    assert_core("The knight cried \"you shall never pass this bridge\" and drew his sword.", "");
    assert_core("She said \"why me?\" and smiled.", "");
    assert_core("Shopping list: eggs, flour, sugar, milk, cocoa", "");
    assert_core("It starts at 10:30 how nice", "");
    assert_core("", "");
    assert_core("\"", "");
    assert_core(": ", "");
    assert_core("\xff\xfe: \xe2\x80\x9c", "");
}

/* How often `piece` is looked at where it fills the room, with `end` behind it. */
static void looked_at_once(const char *piece, const char *end) {
    struct buf b;
    size_t looked;
    buf_init(&b, 1 << 17);
    while (b.n < 65000)
        buf_addz(&b, piece);
    buf_addz(&b, end);
    (void)safety_view_core_counted(buf_str(&b), &looked);
    assert_in_range(looked, b.n / 2, 16 * b.n);
    buf_deinit(&b);
}

static void colons_are_looked_at_once(void **state) {
    (void)state;
    looked_at_once(": ", "");
    looked_at_once(": ", "x");
    looked_at_once(": ", "?");
    looked_at_once(": x", "");
    looked_at_once(": x ", "how");
    looked_at_once(": how: ", "");
    looked_at_once(":\n'", "what is");
}

/* Of many colons the first one whose words ask: within four words behind it. */
static void core_behind_many_colons_is_the_first_that_asks(void **state) {
    (void)state;
    assert_core("One: two: three: four: five: tell me all: now",
                "three: four: five: tell me all: now");
    assert_core("A longer note: : : tell me all", ": : tell me all");
    assert_core("Note: one two three four tell me", "");
    assert_core("Is this: a big house?", "a big house?");
    assert_core("A list: of what: is", "");
}

static void earlier_is_the_last_turns_cut_at_words(void **state) {
    (void)state;
    struct str got = safety_view_earlier(STR("one\ntwo\nthree\nfour"));
    assert_true(str_eqz(got, "two\nthree\nfour"));
    assert_true(str_eqz(safety_view_earlier(STR("one")), "one"));
    assert_int_equal(safety_view_earlier(STR("")).n, 0);
    char many[3000];
    for (size_t i = 0; i < sizeof many; i++)
        many[i] = i % 7 == 6 ? ' ' : 'a';
    got = safety_view_earlier((struct str){many, sizeof many});
    assert_in_range(got.n, SAFETY_TALK_BYTES - 8, SAFETY_TALK_BYTES);
    assert_int_equal(got.n >= 6 && memcmp(got.p, "aaaaaa", 6) == 0, 1);
    memset(many, 'b', sizeof many); /* a single word longer than the room */
    assert_int_equal(safety_view_earlier((struct str){many, sizeof many}).n, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(core_of_a_frame_is_the_request_it_wraps),
        cmocka_unit_test(core_of_what_asks_for_nothing_is_none),
        cmocka_unit_test(colons_are_looked_at_once),
        cmocka_unit_test(core_behind_many_colons_is_the_first_that_asks),
        cmocka_unit_test(earlier_is_the_last_turns_cut_at_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
