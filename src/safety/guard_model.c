/* See guard_model.h. Formats after the model cards of Llama Guard 3 (Meta 2024), ShieldGemma
 * (Google 2024) and Granite Guardian 3 (IBM 2024). */
#include "safety/guard_model.h"

#define QUESTION_MAX (2 * GUARD_TEXT_MAX + 8192)

/* Of ShieldGemma's two prompts: of a question, of an answer. */
static const char *const shieldgemma_head[2] = {
    "You are a policy expert trying to help determine whether a user prompt is in violation of the "
    "defined safety policies.\n\n<start_of_turn>\nHuman Question: ",
    "You are a policy expert trying to help determine whether an AI response to prompts is in "
    "violation of the defined safety policies.\n\n<start_of_turn>\nHuman Question: ",
};
static const char shieldgemma_answer[] = "\n\nChatbot Response: ";
static const char *const shieldgemma_tail[2] = {
    "\n<end_of_turn>\n\nOur safety principle is defined in the below:\n\n"
    "* \"No Dangerous Content\": The prompt shall not contain or seek generation of content that "
    "harms oneself and/or others.\n"
    "* \"No Harassment\": The prompt shall not contain or seek generation of content that is "
    "malicious, intimidating, bullying, or abusive content targeting another individual.\n"
    "* \"No Hate Speech\": The prompt shall not contain or seek generation of content that targets "
    "identity and/or protected attributes.\n"
    "* \"No Sexually Explicit Information\": The prompt shall not contain or seek generation of "
    "sexually explicit content.\n\n"
    "Does the human question violate the above principles? Your answer must start with 'Yes' or "
    "'No'.",
    "\n<end_of_turn>\n\nOur safety principle is defined in the below:\n\n"
    "* \"No Dangerous Content\": The chatbot shall not generate content that harms oneself and/or "
    "others.\n"
    "* \"No Harassment\": The chatbot shall not generate content that is malicious, intimidating, "
    "bullying, or abusive content targeting another individual.\n"
    "* \"No Hate Speech\": The chatbot shall not generate content that targets identity and/or "
    "protected attributes.\n"
    "* \"No Sexually Explicit Information\": The chatbot shall not generate sexually explicit "
    "content.\n\n"
    "Does the chatbot response violate the above principles? Your answer must start with 'Yes' or "
    "'No'.",
};

static struct str read_part(struct str s) {
    return (struct str){s.p, utf8_cut(s, GUARD_TEXT_MAX)};
}

enum err guard_question_make(enum guard_format f, struct str text, struct str answer,
                             struct guard_question *q) {
    bool of_answer = text.n > 0 && answer.n > 0;
    buf_init(&q->system, QUESTION_MAX);
    buf_init(&q->user, QUESTION_MAX);
    buf_init(&q->assistant, QUESTION_MAX);
    if (f == GUARD_GRANITE)
        buf_addz(&q->system, "harm");
    if (f == GUARD_SHIELDGEMMA)
        buf_addz(&q->user, shieldgemma_head[of_answer]);
    buf_adds(&q->user, read_part(text.n ? text : answer));
    if (of_answer && f == GUARD_SHIELDGEMMA)
        buf_addz(&q->user, shieldgemma_answer);
    if (of_answer)
        buf_adds(f == GUARD_SHIELDGEMMA ? &q->user : &q->assistant, read_part(answer));
    if (f == GUARD_SHIELDGEMMA)
        buf_addz(&q->user, shieldgemma_tail[of_answer]);
    enum err e = buf_err(&q->user) ? buf_err(&q->user) : buf_err(&q->assistant);
    return e ? e : buf_err(&q->system);
}

void guard_question_deinit(struct guard_question *q) {
    buf_deinit(&q->system);
    buf_deinit(&q->user);
    buf_deinit(&q->assistant);
}

static bool begins(struct str s, const char *word) {
    size_t n = strlen(word);
    return s.n >= n && str_eq_nocase(str_sub(s, 0, n), str_from(word));
}

/* MLCommons hazards, S1 to S14. */
static enum safety_category hazard(struct str answer, enum safety_category suspected) {
    static const enum safety_category of[] = {
        SAFETY_VIOLENCE,   SAFETY_ILLICIT, SAFETY_SEXUAL,    SAFETY_SEXUAL_MINORS,
        SAFETY_HARASSMENT, SAFETY_ILLICIT, SAFETY_PRIVACY,   SAFETY_ILLICIT,
        SAFETY_ILLICIT,    SAFETY_HATE,    SAFETY_SELF_HARM, SAFETY_SEXUAL,
        SAFETY_HARASSMENT, SAFETY_ILLICIT};
    size_t at = str_find(answer, STR("S"));
    uint64_t n = 0;
    if (at == SIZE_MAX)
        return suspected;
    for (at++; at < answer.n && answer.p[at] >= '0' && answer.p[at] <= '9' && n < 100; at++)
        n = n * 10 + (uint64_t)(answer.p[at] - '0');
    return n >= 1 && n <= sizeof of / sizeof *of ? of[n - 1] : suspected;
}

bool guard_answer_read(enum guard_format f, struct str answer, enum safety_category suspected,
                       bool *ret_harmful, enum safety_category *ret_category) {
    answer = str_trim(answer);
    if (begins(answer, "<score>")) /* newer Granite Guardians frame it */
        answer = str_trim(str_sub(answer, 7, answer.n));
    bool yes = begins(answer, f == GUARD_LLAMA ? "unsafe" : "yes");
    bool no = begins(answer, f == GUARD_LLAMA ? "safe" : "no");
    if (!yes && !no)
        return false;
    *ret_harmful = yes;
    *ret_category = yes && f == GUARD_LLAMA ? hazard(answer, suspected) : suspected;
    return true;
}
