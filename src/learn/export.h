/* Rated turns as training data, in the conversational forms that public trainers read (TRL,
 * axolotl, LLaMA-Factory): one JSON object a line.
 *
 *   sft  {"messages":[{"role":"system",…},{"role":"user",…},{"role":"assistant",…}]}
 *        of each liked answer
 *   kto  {"prompt":[…],"completion":[…],"label":true|false}
 *        of each rated answer
 *   dpo  {"prompt":[…],"chosen":[…],"rejected":[…]}
 *        of each pair of a liked and a disliked answer to one question
 *
 * Before the question stands what was said in the conversation until then. The rows are of people
 * who agreed (store/learning.h). Personal data and secrets are replaced by placeholders, the same
 * value by the same placeholder within a line. Pure. */
#pragma once

#include "base/buf.h"
#include "store/learning.h"

enum export_form { EXPORT_SFT, EXPORT_KTO, EXPORT_DPO };
int export_form_from_name(struct str s); /* "sft", "kto", "dpo"; -1 */

#define EXPORT_ROWS_MAX 20000

/* Appends the lines. ERR_NOMEM, or the buffer's error. */
enum err export_write(const struct training_row *rows, size_t n, enum export_form form,
                      struct buf *out) ERR_CHECK;
