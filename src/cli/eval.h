/* parley eval …: measures a part of the program on a labelled file. */
#pragma once

#include "cli/args.h"

int cmd_eval_safety(const struct args *a);
int cmd_eval_injection(const struct args *a);
int cmd_eval_pii(const struct args *a);
int cmd_eval_retrieval(const struct args *a);
