/* Which form of a model's weights runs fastest on this machine without saying something else.
 *
 * Candidates are the file as it is shipped, Q8_0 and Q4_0. Each is measured (engine/weights.h) on
 * models/measure.txt; of those whose perplexity is within FORMS_LOSS of the shipped file's, the one
 * is taken with which a standard turn (FORMS_FRESH tokens of prompt, FORMS_ANSWER of answer) is
 * done soonest. What was found is kept in <models_dir>/forms.json by the published file's SHA-256
 * and the CPU, so that nothing is measured twice. */
#pragma once

#include "cli/models_internal.h"
#include "engine/weights.h"

#define FORMS_MAX    4
#define FORMS_LOSS   0.01
#define FORMS_FRESH  60
#define FORMS_ANSWER 100

struct model_form {
    char name[32]; /* "Q8_0" */
    bool shipped;  /* the file as it is */
    struct weights_speed speed;
    bool chosen;
};

struct model_forms {
    struct model_form forms[FORMS_MAX];
    int n; /* 0 = not measured */
};

/* The form to take for the published file in, which has this SHA-256 (hex): remembered, or measured
 * with the other forms made in folder, where they stay as model_forms_path() says. */
enum err model_forms_choose(const struct models *m, const char *label, const char *in,
                            const char *sha256, const char *folder, struct model_forms *ret,
                            struct errinfo *ei) ERR_CHECK;
enum err model_forms_path(char out[PATH_MAX], const char *folder, const char *form,
                          struct errinfo *ei) ERR_CHECK;
const struct model_form *model_forms_chosen(const struct model_forms *f);
/* Chooses among measured forms; the shipped one must be among them. */
void model_forms_decide(struct model_forms *f);
void model_forms_show(const struct models *m, const struct model_forms *f);
/* What is remembered; ERR_NOT_FOUND. */
enum err model_forms_recall(const char *dir, const char *sha256, struct model_forms *ret) ERR_CHECK;
