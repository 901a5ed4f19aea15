/* The beginnings of prompts that were tokenised lately, by their system message: requests of a role
 * all have the same, and reading it again takes as long as reading the rest of the request. The
 * least recently used one of OPENINGS_MAX gives way. Not thread-safe. */
#pragma once

#include <stdbool.h>

#include "base/str.h"
#include "engine/model.h"

#define OPENINGS_MAX   16
#define OPENINGS_BYTES (16u << 10) /* of a system message; longer ones are not kept */

struct openings;
struct openings *openings_new(void); /* NULL: no memory */
void openings_free(struct openings *o);
/* What is kept for the text, with or without the opening of what the user says; NULL: nothing.
 * Borrowed until openings_keep(). */
const struct tokens *openings_find(struct openings *o, struct str system, bool with_user);
/* Keeps copies; without memory nothing is kept. */
void openings_keep(struct openings *o, struct str system, bool with_user,
                   const struct tokens *head);
