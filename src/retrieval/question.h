/* What a question asks of the documents: nothing at all ("thanks!"), or what it says, or what it
 * says together with what was said before ("and in winter?"). Pure; any thread. */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/* Greetings, thanks, agreement: words of politeness alone, in the languages that the list has. */
bool question_is_smalltalk(struct str text);

/* Whether the question leans on what was said before: it begins like a continuation, points at
 * something ("it", "that one"), or has hardly a word of its own. */
bool question_is_follow_up(struct str text);

/* The text to search with: of a follow-up the last message of a person with words of its own stands
 * in front. history: what the person said, oldest first. *ret_before: that message, STR_NULL when
 * none is used. */
enum err question_resolve(struct str text, const struct str *history, size_t n, struct arena *a,
                          struct str *ret, struct str *ret_before) ERR_CHECK;

/* What a question has to do with the documents that came with its conversation's messages. */
enum question_about {
    ABOUT_ANYTHING, /* nothing points at them: they are looked into before others */
    ABOUT_GIVEN,    /* they came with it: the same, and it is about them where nothing else fits */
    ABOUT_THEM,     /* "what does the file say of …", "who wrote it?" */
    ABOUT_WHOLE,    /* "summarise the document", "what is it about?": no passage's words */
};
struct question_said {
    struct str text;
    bool gave; /* documents came with it */
};
/* said: what the person said, oldest first, the question last; n at least 1. A question that leans
 * on the ones before is about what they were about. */
enum question_about question_about(const struct question_said *said, size_t n);
