/* JSON whose strings are judged as text, read as it comes: the arguments of a tool call.
 *
 *   {"to":"Ada","n":4}  ─→  to: Ada ⏎ n: 4 ⏎  ─→ judged ─→ {"to":"…","n":4}
 *
 * Keys, strings (their escapes undone), numbers and words are text, with blanks, colons and line
 * ends between them; what is no JSON is text, too. Afterwards each is written into its place
 * again with whatever the judge made of it. What was valid JSON stays so: a number or word that
 * was changed becomes a string. The end of the outermost value is written last of all, so that an
 * answer that is cut off leaves nothing that could be carried out. One thread at a time. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "safety/text_then.h"

struct json_text {
    struct buf parts;     /* what was read and is not written yet */
    struct buf raw;       /* the bytes of structure among them */
    struct buf piece;     /* scratch */
    size_t written;       /* of the text */
    size_t read;          /* of the text, so far */
    size_t depth;         /* of open brackets */
    unsigned char in;     /* see json_text.c */
    unsigned char digits; /* of \uXXXX */
    bool blank;           /* the text ends with one, or is empty */
    unsigned code, high;  /* of \uXXXX; the first half of a pair */
};

void json_text_init(struct json_text *j, size_t max /* bytes of JSON that may wait */);
void json_text_deinit(struct json_text *j);

/* Appends the text of what comes next, whole characters. */
enum err json_text_read(struct json_text *j, struct str json, enum text_then then,
                        struct buf *text) ERR_CHECK;

/* Appends text[from, to) as it may go on; offsets are of all that was read. */
typedef enum err (*json_text_fn)(void *ctx, size_t from, size_t to, struct buf *out);
/* Appends the JSON of the text before upto, with its end where that is due; where it pauses without
 * a number or word that may go on. */
enum err json_text_write(struct json_text *j, size_t upto, enum text_then then, json_text_fn piece,
                         void *ctx, struct buf *out) ERR_CHECK;
