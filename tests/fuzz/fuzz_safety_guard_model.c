/* safety/guard_model: what a guard model answers, in each format; and the same bytes, cut at line
 * ends, as a talk with its question and answer. The roles of what is asked take turns. */
#include <stdlib.h>

#include "safety/guard_model.h"

#define CHECK(x)                                                                                   \
    if (!(x))                                                                                      \
    abort()

#define TURNS 24

static void read_answer(enum guard_format f, struct str answer) {
    unsigned categories = 0;
    bool is = guard_answer_read(f, answer, SAFETY_PRIVACY, &categories);
    CHECK(categories < 1u << SAFETY_CATEGORIES);
    CHECK(is || categories == 0);
    CHECK(f == GUARD_LLAMA || categories == 0 || categories == 1u << SAFETY_PRIVACY);
}

static void make_question(enum guard_format f, struct str rest) {
    struct guard_turn talk[TURNS];
    struct guard_question q;
    size_t n = 0;
    struct str text = str_cut(&rest, '\n'), answer = str_cut(&rest, '\n');
    while (rest.n && n < TURNS) {
        struct str one = str_cut(&rest, '\n');
        talk[n++] = (struct guard_turn){one.n % 2 != 0, one};
    }
    CHECK(guard_question_make(f, talk, n, text, answer, &q) == ERR_OK);
    CHECK(q.n >= 1 && q.n <= sizeof q.m / sizeof *q.m);
    for (size_t i = 0; i < q.n; i++) {
        CHECK(q.m[i].at + q.m[i].n <= q.bytes.n);
        CHECK(str_find(guard_question_text(&q, i), STR("<|")) == SIZE_MAX);
        CHECK((q.m[i].role == GUARD_SYSTEM) == (f == GUARD_GRANITE && i == 0));
        CHECK(i == 0 || q.m[i].role != q.m[i - 1].role);
    }
    CHECK(q.m[q.n - 1].role ==
          (text.n && answer.n && f != GUARD_SHIELDGEMMA ? GUARD_ASSISTANT : GUARD_USER));
    guard_question_deinit(&q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (int f = GUARD_LLAMA; f <= GUARD_GRANITE; f++) {
        read_answer((enum guard_format)f, (struct str){(const char *)data, size});
        make_question((enum guard_format)f, (struct str){(const char *)data, size});
    }
    return 0;
}
