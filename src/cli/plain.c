/* See plain.h. Works on bytes: a sequence of UTF-8 that is cut by a caller is not joined again, so
 * callers pass whole texts. */
#include "cli/plain.h"

#include <stdio.h>

/* How many bytes at the start of s steer a terminal: 0, 1, or 2 for a C1 control. */
static size_t steering(struct str s, bool lines) {
    unsigned char c = (unsigned char)s.p[0];
    if (c == '\n' || c == '\t')
        return lines ? 0 : 1;
    if (c < 0x20 || c == 0x7f)
        return 1;
    return c == 0xc2 && s.n > 1 && (unsigned char)s.p[1] >= 0x80 && (unsigned char)s.p[1] < 0xa0
               ? 2
               : 0;
}

void plain_text(char *s, size_t n, bool lines) {
    for (size_t i = 0; i < n; i++) {
        size_t bad = steering((struct str){s + i, n - i}, lines);
        if (!bad)
            continue;
        memset(s + i, ' ', bad);
        i += bad - 1;
    }
}

void plain_print(struct str s, bool lines) {
    size_t done = 0; /* printed up to here */
    for (size_t i = 0; i < s.n; i++) {
        size_t bad = steering((struct str){s.p + i, s.n - i}, lines);
        if (!bad)
            continue;
        fwrite(s.p + done, 1, i - done, stdout);
        fputs(bad == 2 ? "  " : " ", stdout);
        i += bad - 1;
        done = i + 1;
    }
    if (done < s.n)
        fwrite(s.p + done, 1, s.n - done, stdout);
}
