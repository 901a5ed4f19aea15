/* Text that users, models and other servers wrote, made fit for a terminal: what would steer it (C0
 * but for tabs and line breaks, DEL, and C1, which UTF-8 writes as C2 80 to C2 9F) becomes spaces.
 * No byte is added or taken away. */
#pragma once

#include "base/str.h"

/* lines: line breaks and tabs stay. */
void plain_text(char *s, size_t n, bool lines); /* in place */
void plain_print(struct str s, bool lines);     /* to stdout */
