/* The terminal's side of the API: calls that wait, and streams whose events are handed over. One
 * thread, one loop that runs only while something is awaited; Ctrl-C arrives there. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "net/sse.h"

struct chat_client;

/* base: "http://host:port" without a path; unix_socket may be NULL. key is copied, "" = none. */
enum err chat_client_new(const char *base, const char *unix_socket, const char *key,
                         struct chat_client **ret, struct errinfo *ei) ERR_CHECK;
void chat_client_free(struct chat_client *c);
enum err chat_client_set_key(struct chat_client *c, const char *key) ERR_CHECK;

/* How often Ctrl-C was pressed since the last call of this; also ends the wait of
 * chat_client_read_line(). */
int chat_client_interrupts(struct chat_client *c);

/* One call. *ret_doc (yyjson_doc_free; NULL for an empty answer) may be NULL when it is not needed.
 * Errors of the server come as the enum that fits the status, with its message. ERR_UNAVAILABLE:
 * nobody answers there. */
enum err chat_client_call(struct chat_client *c, const char *method, const char *path,
                          struct str body, yyjson_doc **ret_doc, struct errinfo *ei) ERR_CHECK;

/* The same with a file's bytes as the body. */
enum err chat_client_upload(struct chat_client *c, const char *path, struct str bytes,
                            yyjson_doc **ret_doc, struct errinfo *ei) ERR_CHECK;

/* A stream of events until it ends. on_event returns false to leave. on_interrupt: Ctrl-C was
 * pressed (a further call may be made with chat_client_post_quietly()). */
struct chat_events {
    bool (*on_event)(void *ctx, const struct sse_event *e);
    bool (*on_interrupt)(void *ctx); /* false to leave */
};
enum err chat_client_stream(struct chat_client *c, const char *method, const char *path,
                            struct str body, const struct chat_events *events, void *ctx,
                            struct errinfo *ei) ERR_CHECK;

/* From within a stream's callbacks: sends and does not wait for the answer. */
void chat_client_post_quietly(struct chat_client *c, const char *path);

void chat_client_wait(struct chat_client *c, int64_t ms); /* or until Ctrl-C */

/* A line of stdin without its end, prompt shown before it. ERR_NOT_FOUND at the end of input,
 * ERR_CANCELLED by Ctrl-C. */
enum err chat_client_read_line(struct chat_client *c, const char *prompt,
                               struct buf *ret) ERR_CHECK;
