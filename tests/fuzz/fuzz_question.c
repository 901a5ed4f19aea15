/* Two questions, one in each line: taken apart and compared both ways. A question of plain words is
 * the same as itself. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "learn/approved.h"
#include "learn/question.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_plain(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!(s.p[i] >= 'a' && s.p[i] <= 'z') && s.p[i] != ' ')
            return false;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str rest = {(const char *)data, size}, first = str_cut(&rest, '\n');
    struct question_form *a = question_form_new(first), *b = question_form_new(rest);
    if (!a || !b)
        abort();
    if (!approved_difference(a, b, 0.9)[0] || !approved_difference(b, a, 0.9)[0])
        abort();
    if (is_plain(first) && !a->cut && !approved_is_same(a, a, 1))
        abort();
    question_form_free(a);
    question_form_free(b);
    return 0;
}
