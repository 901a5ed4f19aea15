/* A question taken apart, for approved.c to compare: its words with what each does in it. English;
 * see approved.h. Pure. */
#pragma once

#include "base/str.h"
#include "learn/words.h"

#define QUESTION_WORDS_MAX 96
#define QUESTION_BYTES_MAX 1024

enum question_kind { /* what is asked for; HOW with a measure ("how long") is a hash */
                     KIND_NONE,
                     KIND_WHETHER,
                     KIND_WHO,
                     KIND_WHOSE,
                     KIND_WHEN,
                     KIND_WHERE,
                     KIND_WHY,
                     KIND_HOW,
                     KIND_WHAT
};
enum { /* when */
       TIME_PAST = 1,
       TIME_FUTURE = 2,
       TIME_PERFECT = 4,
       TIME_WOULD = 8
};
enum { FORCE_CAN = 1, FORCE_MUST = 2, FORCE_SHOULD = 4 };
enum { PERSON_I = 1, PERSON_YOU = 2 };
enum preposition {
    PREP_NONE,
    PREP_OF,
    PREP_FOR,
    PREP_IN,
    PREP_ON,
    PREP_AT,
    PREP_TO,
    PREP_FROM,
    PREP_WITH,
    PREP_BY
};
enum {                  /* what a word is */
       WORD_WEIGHS = 1, /* it must have its partner */
       WORD_NUMBER = 2,
       WORD_VERB = 4, /* "to" or a pronoun stands before it */
       WORD_HEAD = 8  /* the last of the words that stand together */
};

struct question_word {
    struct str text; /* lower case, in the form's text */
    unsigned what;
    enum preposition prep; /* that it stands behind */
    unsigned place; /* among those that weigh: "driver for the printer" as "printer driver" */
};

struct question_list {
    uint64_t hash[QUESTION_WORDS_MAX];
    size_t n;
};

struct question_form {
    char text[QUESTION_BYTES_MAX];
    size_t n_text, n;
    struct question_word words[QUESTION_WORDS_MAX];
    struct question_list all, names, signs; /* signs: numbers and %, $, + … as they come */
    uint64_t kind, when; /* when: "day", "time" …, that "what day" asks for; 0 = any */
    unsigned time, force, subject, object, owner; /* bits */
    enum preposition left;                        /* that nothing stands behind at the end */
    int nots, ons;
    bool cut;         /* there is more than is compared */
    bool be, does;    /* a form of "be", of "do" helps a verb */
    bool has, there;  /* "have" and "there is" */
    bool gets;        /* "get" */
    bool acts;        /* "do" is what is done: "what does it do" */
    bool who_suffers; /* "who does she call", not "who calls her" */
};

/* ---- lemma.c: forms of words ---- */
enum ending { ENDING_NONE, ENDING_S, ENDING_ING, ENDING_ED };
/* Whether two words are forms of one, or of two that mean the same; which forms. */
bool lemma_same(struct str a, struct str b, enum ending *ret_a, enum ending *ret_b);
/* Whether a word is a form of this one. */
bool lemma_is(struct str word, const char *base);
