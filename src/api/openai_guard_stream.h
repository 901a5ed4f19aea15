/* Between openai_guard_out.c (the events of an answer) and openai_guard_choice.c (one choice of
 * it). Inside src/api only. */
#pragma once

#include "api/openai_guard.h"
#include "api/openai_parts.h"

/* What a choice says, each by itself a text that grows. */
enum channel_kind {
    CHANNEL_CONTENT,
    CHANNEL_REASONING_CONTENT,
    CHANNEL_REASONING,
    CHANNEL_BOTH_REASONINGS, /* servers that say it under both names */
    CHANNEL_REFUSAL,
    CHANNEL_TRANSCRIPT, /* of its sound */
    CHANNEL_ARGUMENTS,  /* of the call of a tool: JSON */
    CHANNEL_INPUT,      /* of a tool that takes a text */
    CHANNEL_FUNCTION,   /* arguments, as they were before there were tools */
};
#define CHANNELS_MAX     64 /* of a choice */
#define CHANNEL_NAME_MAX 256

struct choice;
struct channel {
    struct channel *next;
    struct choice *ch;
    enum channel_kind kind;
    size_t call; /* the tool call's number */
    struct safety_stream *stream;
    struct buf name;               /* of the tool, as far as it came */
    char id[OPENAI_LABEL_MAX + 1]; /* of the call; empty: none came */
    bool ended;                    /* its last text was judged */
};

/* Something that waits until what was said before it has gone out. */
struct step {
    struct step *next;
    struct channel *channel; /* text goes there; NULL: it is an event that goes out as it is */
    bool passes;             /* an event that does not interrupt what is being said */
    bool ends;               /* the choice; text: the event that says so, or nothing */
    struct str text;
};

struct choice {
    struct answer_guard *a;
    size_t index;
    struct channel *channels, *active; /* active: what is being said */
    size_t n_channels;
    size_t n_calls, last_call; /* of tools: numbers so far; what was spoken of last */
    struct step *first, *last;
    size_t waiting_bytes;
    bool has_role;  /* it was said */
    bool stopping;  /* what was being said is judged as it stands; that is awaited */
    bool running;   /* steps are taken further up */
    bool said;      /* some of the content went out */
    bool ended;     /* its end was heard of */
    bool done, cut; /* its end went out; because of the guard */
};

struct answer_guard {
    struct call *c;
    struct openai_guard *g;
    const struct answer_guard_callbacks *cb;
    void *ctx;
    struct choice *choices[OPENAI_CHOICES_MAX];
    size_t n;                                /* choices seen */
    size_t expected;                         /* that were asked for */
    struct str id, model, fingerprint, tier; /* as the first event has them */
    bool named;                              /* all but the id were looked for */
    int64_t created;
    struct buf tail, out;
    bool ended, over, inside, freed;
    bool noted; /* what was blocked has its case */
};

/* ---- openai_guard_choice.c ---- */
struct choice *choice_new(struct answer_guard *a, size_t index); /* NULL: out of memory */
void choice_free(struct choice *ch);
/* NULL: out of memory, or there are too many. */
struct channel *choice_channel(struct choice *ch, enum channel_kind kind, size_t call);
/* Takes the step when all before it are taken; its text is copied if it has to wait. ERR_NOMEM,
 * ERR_TOO_LARGE: nothing more may go out. */
enum err choice_take(struct choice *ch, const struct step *step) ERR_CHECK;
/* The choice ends here, as blocked. */
void choice_block(struct choice *ch, const struct safety_verdict *v, struct str blocked);

/* ---- openai_guard_out.c ---- */
/* False: the client is gone. */
bool answer_guard_send(struct answer_guard *a, struct str json);
void answer_guard_fail(struct answer_guard *a, enum err e);
/* A choice is done: what waits for all of them goes out. */
void answer_guard_look(struct answer_guard *a);
void answer_guard_leave(struct answer_guard *a, bool was_inside);
