/* From pieces of tokens to text that may be sent: joins UTF-8 sequences that span pieces, replaces
 * what is no UTF-8, and holds back what may become one of the stop strings. */
#pragma once

#include "base/buf.h"

#define TEXT_STOPS_MAX      16
#define TEXT_STOP_BYTES_MAX 512

struct text_stream {
    struct buf held;         /* bytes not yet given out */
    const struct str *stops; /* borrowed */
    int n_stops;
    bool stopped;
};

void text_stream_init(struct text_stream *t, const struct str *stops, int n_stops);
void text_stream_deinit(struct text_stream *t);

/* Adds bytes and appends to out the valid UTF-8 that can be sent now. True: a stop string was met;
 * what stands before it was appended, and nothing more will be. */
bool text_stream_add(struct text_stream *t, struct str bytes, struct buf *out);
/* The answer is over: appends what was held back. */
void text_stream_end(struct text_stream *t, struct buf *out);
