/* Documents on their way in: every piece is judged once, as a passage, under the base policy. What
 * a prompt would leave out of a piece is still left out there; this says beforehand which pieces
 * that concerns, so that all others need not be looked at again while the policy stays
 * (safety_stamp).
 *
 * What is kept is JSON without any of the text:
 *   {"policy_version":n,"left_out":n,"replaced":n,"pieces":n,"counts":{"prompt_injection":n},
 *    "findings":[{"category","action","score","source","place":"text"|"title"|"heading",
 *                 "char_from":n|null,"char_to":n|null}]}
 * left_out: sentences that give orders to a model; replaced: personal data; pieces: in how many of
 * the document's pieces; findings: the first DOCUMENT_FINDINGS_MAX, with their characters in the
 * document's text. */
#pragma once

#include "safety/guard.h"
#include "store/chunk.h"

#define DOCUMENT_FINDINGS_MAX 16

/* Marks rows (CHUNK_FLAG_GUARD) and fills d->safety ("" = nothing was found) and d->safety_stamp,
 * in the arena. *ret_orders: it gives orders to a model, which are left out. CPU work, some tenths
 * of a millisecond for a piece; never on a loop. On an error the document counts as not judged. */
enum err safety_judge_document(struct safety *g, struct document *d, struct chunk_row *rows,
                               size_t n, struct arena *a, bool *ret_orders) ERR_CHECK;
