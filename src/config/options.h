/* The table of options, between the files of this folder. */
#pragma once

#include "base/arena.h"
#include "config/config.h"

enum option_kind {
    OPTION_TEXT,  /* checked by the row's function, if any */
    OPTION_PATH,  /* a file or folder; made absolute when it stands in a file */
    OPTION_MODEL, /* a name, or a path that ends in .gguf */
    OPTION_INT,
    OPTION_WORD /* one of the row's words; the value is its position */
};

#define OPTION_SECRET 1 /* never printed; only from the environment */

struct option {
    const char *section; /* starts a new one in the reference; NULL = as the row before */
    const char *key;
    enum option_kind kind;
    size_t offset; /* in struct config: const char * or int64_t */
    const char *standard;
    int64_t min, max;         /* OPTION_INT */
    const char *const *words; /* OPTION_WORD, NULL-terminated */
    bool (*check)(struct str value);
    const char *allowed; /* for people: what the value may be */
    int flags;
    const char *help;
};

#define OPTIONS_MAX 64
extern const struct option options[];
extern const size_t options_count; /* <= OPTIONS_MAX */

/* The row with that key ('-' and '_' are the same), or NULL. */
const struct option *option_find(struct str key);

/* Where a value came from, for errors and `parley config`. */
struct origin {
    enum config_source source;
    const char *file; /* CONFIG_FILE */
    int line;
};

/* Checks value and puts it into c; strings are copied into the arena a. base is the folder for
 * relative paths, or NULL. */
enum err option_set(struct config *c, const struct option *o, struct str value,
                    const struct origin *from, const char *base, struct arena *a,
                    struct errinfo *ei) ERR_CHECK;
void option_show(const struct config *c, const struct option *o, struct buf *b);

/* Calls fn for each `key = value` of a file's text, in order; stops at the first error. Unknown
 * keys, lines that are none and keys given twice are errors. */
typedef enum err (*option_fn)(void *ctx, const struct option *o, struct str value, int line,
                              struct errinfo *ei);
enum err options_parse(const char *name, struct str text, option_fn fn, void *ctx,
                       struct errinfo *ei) ERR_CHECK;

#define CONFIG_FILE_MAX ((size_t)65536)

/* What belongs to a struct config but is not for its readers. */
struct config_data {
    struct config c; /* first: the two are one object */
    struct arena *arena;
    struct origin origins[OPTIONS_MAX];
    const char *environment[OPTIONS_MAX + 2];
};
