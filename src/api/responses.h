/* OpenAI's Responses API over conversations and turns. A response is an answer: its id is "resp_"
 * and the answer's message_id. previous_response_id goes on behind that answer, in its
 * conversation; without it a conversation is begun, with the role that `model` names.
 *
 * Sequence numbers: 0 to 3 are the events that begin a response; what follows is numbered by the
 * turn's own event ids (+ RESPONSE_SEQUENCE), which any process knows: see turn/turn_internal.h. */
#pragma once

#include "api/call.h"
#include "turn/turn.h"

#define RESPONSE_BEGINNING 4 /* created, in_progress, output_item.added, content_part.added */
#define RESPONSE_SEQUENCE  4

struct response {
    json_val
        *message; /* of an answer, as message_to_json() writes it; NULL: only the id is known */
    struct uuid id, previous;
};

/* "resp_…" → the answer's id. */
bool response_id_parse(struct str s, struct uuid *ret);
void response_write(struct buf *b, const struct response *r);
/* The events with their numbers, those with numbers of at most `after` left out. */
void response_write_beginning(struct buf *b, const struct response *r, int64_t after);
void response_write_delta(struct buf *b, const struct response *r, int64_t sequence,
                          struct str text);
void response_write_end(struct buf *b, const struct response *r, int64_t sequence, int64_t after);

/* ---- responses_begun.c: what is stored before the turn begins ---- */
/* In a WRITE, of a request with a key: what an earlier try has begun, into in (conversation and
 * parent). */
enum err response_begun_find(struct call *c, struct store_tx *tx, struct turn_input *in,
                             bool *ret_found, struct errinfo *ei) ERR_CHECK;
enum err response_begun_note(struct call *c, struct store_tx *tx, const struct turn_input *in,
                             struct errinfo *ei) ERR_CHECK;
/* In a write of its own, after a turn that was refused: the conversation that was begun for it
 * goes, unless there is more in it. */
enum err response_begun_undo(struct call *c, struct store_tx *tx, const struct turn_input *in,
                             struct errinfo *ei) ERR_CHECK;

/* ---- responses_items.c: what stands before the question ---- */
struct response_items; /* what the JOB found; in the call's arena */
/* In a WRITE: the items before the last become messages, unless an earlier try has stored them; the
 * last one is the question, in->content. judged NULL: the guard had nothing to look at. */
enum err response_items_store(struct call *c, struct store_tx *tx, struct turn_input *in,
                              const struct response_items *judged, bool stored,
                              struct errinfo *ei) ERR_CHECK;
