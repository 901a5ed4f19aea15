/* See guard_model.h. Formats after the model cards of Llama Guard 3 (Meta 2024), ShieldGemma
 * (Google 2024) and Granite Guardian 3 (IBM 2024). */
#include "safety/guard_model.h"

/* What is quoted may grow by half: "<|<|". */
#define QUESTION_MAX (3 * GUARD_TEXT_MAX + 2 * GUARD_TALK_BYTES + 8192)

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

/* ---- what is quoted ---- */

/* What parts messages in the templates of chat models, and the parts of ShieldGemma's prompt. */
static const char *const markers[] = {
    "<|",
    "<start_of_turn>",
    "<end_of_turn>",
    "<bos>",
    "<eos>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "<<SYS>",
    "<</SYS>",
    "Human Question:",
    "Chatbot Response:",
    "Our safety principle is defined in the below:",
};

static bool ends_marker(struct str s) {
    for (size_t i = 0; i < sizeof markers / sizeof *markers; i++) {
        struct str m = str_from(markers[i]);
        if (s.n >= m.n && str_eq_nocase(str_sub(s, s.n - m.n, m.n), m))
            return true;
    }
    return false;
}

/* A text that others wrote, with a space before the last character of each marker: it stays in its
 * place, whatever it says. */
static void quote(struct guard_question *q, struct str text) {
    size_t from = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if ((c != '|' && c != '>' && c != ']' && c != ':') || !ends_marker(str_sub(text, 0, i + 1)))
            continue;
        buf_adds(&q->bytes, str_sub(text, from, i - from));
        buf_addc(&q->bytes, ' ');
        from = i;
    }
    buf_adds(&q->bytes, str_sub(text, from, text.n));
    q->quoted += text.n;
}

/* ---- messages ---- */

static void open_message(struct guard_question *q, enum guard_role role) {
    const char head[1 + sizeof(uint64_t)] = {(char)role}; /* the length: close_message() */
    buf_add(&q->bytes, head, sizeof head);
    q->m[q->n].role = role;
    q->m[q->n++].at = q->bytes.n;
}

static void close_message(struct guard_question *q) {
    size_t last = q->n - 1;
    uint64_t n = q->bytes.n - q->m[last].at;
    q->m[last].n = n;
    if (!buf_err(&q->bytes))
        memcpy(q->bytes.p + q->m[last].at - sizeof n, &n, sizeof n);
}

/* Whoever speaks on goes on in the message that is there: the roles take turns. */
static void speak(struct guard_question *q, enum guard_role role, struct str text) {
    if (q->n && q->m[q->n - 1].role == role)
        buf_addc(&q->bytes, '\n');
    else
        open_message(q, role);
    quote(q, text);
    close_message(q);
}

/* ---- the talk ---- */

static struct str read_turn(const struct guard_turn *t) {
    size_t from = t->text.n > GUARD_TALK_TURN ? t->text.n - GUARD_TALK_TURN : 0;
    while (from < t->text.n && ((unsigned char)t->text.p[from] & 0xC0) == 0x80)
        from++;
    return str_sub(t->text, from, t->text.n);
}

/* Where what is read of it begins: with something that the person wrote. */
static size_t talk_from(const struct guard_turn *talk, size_t n) {
    size_t from = n, bytes = 0;
    while (from > 0 && n - from < GUARD_TALK_TURNS) {
        bytes += read_turn(&talk[from - 1]).n;
        if (bytes > GUARD_TALK_BYTES)
            break;
        from--;
    }
    while (from < n && talk[from].of_model)
        from++;
    return from;
}

/* As messages of their own, or (one) what the person wrote, in one message with what comes. */
static void add_talk(struct guard_question *q, const struct guard_turn *talk, size_t n, bool one) {
    for (size_t i = talk_from(talk, n); i < n; i++) {
        struct str text = read_turn(&talk[i]);
        if (!text.n || (one && talk[i].of_model))
            continue;
        if (!one) {
            speak(q, talk[i].of_model ? GUARD_ASSISTANT : GUARD_USER, text);
            continue;
        }
        quote(q, text);
        buf_addc(&q->bytes, '\n');
    }
}

static void make_shieldgemma(const struct guard_turn *talk, size_t n_talk, struct str text,
                             struct str answer, struct guard_question *q) {
    bool of_answer = text.n > 0 && answer.n > 0;
    open_message(q, GUARD_USER);
    buf_addz(&q->bytes, shieldgemma_head[of_answer]);
    if (text.n)
        add_talk(q, talk, n_talk, true);
    quote(q, read_part(text.n ? text : answer));
    if (of_answer) {
        buf_addz(&q->bytes, shieldgemma_answer);
        quote(q, read_part(answer));
    }
    buf_addz(&q->bytes, shieldgemma_tail[of_answer]);
    close_message(q);
}

enum err guard_question_make(enum guard_format f, const struct guard_turn *talk, size_t n_talk,
                             struct str text, struct str answer, struct guard_question *q) {
    *q = (struct guard_question){.n = 0};
    buf_init(&q->bytes, QUESTION_MAX);
    if (f == GUARD_SHIELDGEMMA) {
        make_shieldgemma(talk, n_talk, text, answer, q);
        return buf_err(&q->bytes);
    }
    if (f == GUARD_GRANITE) {
        open_message(q, GUARD_SYSTEM);
        buf_addz(&q->bytes, "harm");
        close_message(q);
    }
    if (text.n && f == GUARD_LLAMA)
        add_talk(q, talk, n_talk, false);
    if (text.n && f == GUARD_GRANITE) {
        open_message(q, GUARD_USER);
        add_talk(q, talk, n_talk, true);
        quote(q, read_part(text));
        close_message(q);
    } else {
        speak(q, GUARD_USER, read_part(text.n ? text : answer));
    }
    if (text.n && answer.n)
        speak(q, GUARD_ASSISTANT, read_part(answer));
    return buf_err(&q->bytes);
}

struct str guard_question_text(const struct guard_question *q, size_t i) {
    return str_sub(buf_str(&q->bytes), q->m[i].at, q->m[i].n);
}

void guard_question_deinit(struct guard_question *q) {
    buf_deinit(&q->bytes);
}

/* ---- answers ---- */

static bool is_of_word(char c) {
    unsigned char u = (unsigned char)c;
    bool letter = (u | 0x20) >= 'a' && (u | 0x20) <= 'z';
    return letter || u >= 0x80 || c == '-' || c == '\'' || c == '_';
}

/* With the word itself, not with a longer one: "Nothing", "Safety". */
static bool begins(struct str s, const char *word) {
    size_t n = strlen(word);
    return str_eq_nocase(str_sub(s, 0, n), str_from(word)) && (s.n == n || !is_of_word(s.p[n]));
}

/* MLCommons hazards, S1 to S14, as many as are named. */
static unsigned hazards(struct str answer) {
    static const enum safety_category of[] = {
        SAFETY_VIOLENCE,   SAFETY_ILLICIT, SAFETY_SEXUAL,    SAFETY_SEXUAL_MINORS,
        SAFETY_HARASSMENT, SAFETY_ILLICIT, SAFETY_PRIVACY,   SAFETY_ILLICIT,
        SAFETY_ILLICIT,    SAFETY_HATE,    SAFETY_SELF_HARM, SAFETY_SEXUAL,
        SAFETY_HARASSMENT, SAFETY_ILLICIT};
    unsigned named = 0;
    for (size_t at = 0; at < answer.n; at++) {
        uint64_t n = 0;
        if (answer.p[at] != 'S')
            continue;
        while (at + 1 < answer.n && answer.p[at + 1] >= '0' && answer.p[at + 1] <= '9' && n < 100)
            n = n * 10 + (uint64_t)(answer.p[++at] - '0');
        if (n >= 1 && n <= sizeof of / sizeof *of)
            named |= 1u << of[n - 1];
    }
    return named;
}

bool guard_answer_read(enum guard_format f, struct str answer, enum safety_category suspected,
                       unsigned *ret_categories) {
    answer = str_trim(answer);
    if (str_starts(answer, STR("<score>"))) /* newer Granite Guardians frame it */
        answer = str_trim(str_sub(answer, 7, answer.n));
    bool yes = begins(answer, f == GUARD_LLAMA ? "unsafe" : "yes");
    bool no = begins(answer, f == GUARD_LLAMA ? "safe" : "no");
    if (!yes && !no)
        return false;
    unsigned named = yes && f == GUARD_LLAMA ? hazards(answer) : 0;
    *ret_categories = !yes ? 0 : named ? named : 1u << suspected;
    return true;
}
