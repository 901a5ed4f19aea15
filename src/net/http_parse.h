/* HTTP/1.1 messages as bytes (RFC 9110, RFC 9112): strict, without memory of its own, without
 * sockets. Not for other folders. What is doubtful is refused, because a proxy in front may read it
 * otherwise (request smuggling): bare LF, folded lines, two Content-Lengths, Transfer-Encoding
 * beside Content-Length, spaces before a colon. */
#pragma once

#include "base/arena.h"
#include "net/http_server.h"

#define HTTP_MAX_HEADERS 100

struct http_field {
    struct str name, value;
};

struct http_head {
    enum http_method method;
    struct str method_name;
    struct str target; /* the path as sent, without the query */
    struct str query;  /* without '?'; STR_NULL if absent */
    int minor;         /* of HTTP/1.x, 0 or 1 */
    bool keep_alive, chunked, expects_continue;
    int status;      /* of an answer */
    bool has_length; /* an answer says its length */
    uint64_t content_length;
    size_t nfields;
    struct http_field fields[HTTP_MAX_HEADERS];
};

/* Finds the end of the head, looking from *scanned on (0 at first, kept between calls): the length
 * with the empty line, or 0 when more bytes are needed. */
size_t http_head_length(struct str bytes, size_t *scanned);

/* True when the bytes so far can still become a request line: lets garbage be refused at once. */
bool http_head_plausible(struct str bytes);

/* Parses a whole head. The strings of *h point into it. On failure *ret_status is the status to
 * answer and *ret_why the reason (static). */
bool http_head_parse(struct str head, struct http_head *h, int *ret_status, const char **ret_why);

/* The same of an answer's head. Of an answer with Transfer-Encoding beside Content-Length the
 * former counts, and the connection is not to be kept (RFC 9112, section 6.3). */
bool http_answer_parse(struct str head, struct http_head *h, const char **ret_why);

/* Decodes %XX (and '+' as a space, if asked) into out, which holds s.n bytes and may be s.p itself.
 * False for a broken escape, a NUL or what is not UTF-8. */
bool http_decode(char *out, struct str s, bool plus, size_t *ret_n);
bool http_decodable(struct str s, bool plus); /* would http_decode() take it? */

/* The decoder of a chunked body. Zeroed is ready. */
struct http_chunks {
    enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER, CHUNK_DONE } state;
    uint64_t left;
    size_t trailer_bytes;
};
/* Takes what it can from bytes and appends the data to body. *ret_used: bytes consumed.
 * ERR_INVALID: not chunked coding; ERR_TOO_LARGE: body is at its cap; ERR_NOMEM. */
enum err http_chunks_feed(struct http_chunks *c, struct str bytes, struct buf *body,
                          size_t *ret_used) ERR_CHECK;

/* Finds a field without regard to case; STR_NULL if absent. */
struct str http_fields_find(const struct http_field *f, size_t n, struct str name);
bool http_is_token(struct str s);       /* RFC 9110, section 5.6.2 */
bool http_is_field_value(struct str s); /* no control characters but TAB */
