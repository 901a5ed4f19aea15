/* Bytes of an unknown encoding as clean UTF-8. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* Appends bytes to out as UTF-8: without byte order mark, without NUL and other control characters
 * but tab, LF and form feed (they become blanks), with LF for CR LF and CR. What cannot be decoded
 * becomes U+FFFD.
 *
 * The encoding is, the first that applies: a byte order mark's; UTF-8 when the bytes are valid
 * UTF-8; hint's (a label as MIME or HTML write it; STR_NULL = none); what ICU's detector finds
 * likely; windows-1252. *ret_name (may be NULL) is its name, 40 bytes. ERR_TOO_LARGE by out's cap,
 * ERR_NOMEM. */
#define CHARSET_NAME_SIZE 40
enum err charset_to_utf8(struct str bytes, struct str hint, struct buf *out,
                         char ret_name[CHARSET_NAME_SIZE]) ERR_CHECK;

/* Whether bytes are no text in any encoding: a NUL outside of UTF-16 and UTF-32, or many control
 * characters. */
bool charset_is_binary(struct str bytes);
