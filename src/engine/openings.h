/* The beginnings of prompts that were tokenised lately, by their system message: requests of a role
 * all have the same, and reading it again takes as long as reading the rest of the request. The
 * least recently used one of OPENINGS_MAX gives way. Any thread. */
#pragma once

#include <stdbool.h>

#include "base/str.h"
#include "engine/model.h"

#define OPENINGS_MAX   16
#define OPENINGS_BYTES (16u << 10) /* of a system message; longer ones are not kept */

struct openings;
struct openings *openings_new(void); /* NULL: no memory */
void openings_free(struct openings *o);
/* Whether something is kept for the text, with or without the opening of what the user says. */
bool openings_has(struct openings *o, struct str system, bool with_user);
/* With how many of its tokens the prompt begins; -1: nothing is kept. */
int openings_shared(struct openings *o, struct str system, bool with_user,
                    const struct tokens *prompt);
/* Keeps copies; without memory nothing is kept. */
void openings_keep(struct openings *o, struct str system, bool with_user,
                   const struct tokens *head);
