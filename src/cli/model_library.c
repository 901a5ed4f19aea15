/* What is in the models folder: which models are there and which are in use; see models.h. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "cli/models_internal.h"
#include "engine/weights.h"

#define STATE_MAX 65536
#define ADDED_MAX 256

static enum err read_json(const char *dir, const char *name, yyjson_doc **ret, struct errinfo *ei) {
    char path[PATH_MAX];
    struct buf text;
    enum err e = path_join(path, dir, name, ei);
    e = e ? e : file_read_text(path, STATE_MAX, &text, ei);
    if (e)
        return e;
    e = json_parse(buf_str(&text), ret, NULL);
    buf_deinit(&text);
    return e ? err_set(ei, ERR_CORRUPT, "%s is damaged; remove it and run 'parley model pull'",
                       path)
             : ERR_OK;
}

/* Copies a text of the JSON; "" when it is absent. False when it does not fit. */
static bool copy_text(const json_val *obj, const char *key, char *out, size_t size) {
    struct str s = json_get_str(obj, key);
    int n = snprintf(out, size, "%.*s", STR_ARG(s));
    return n >= 0 && (size_t)n < size;
}

enum err model_installed_get(const char *dir, const char *name, struct model_installed *ret,
                             struct errinfo *ei) {
    struct model_installed i = {0};
    char state[PATH_MAX], file[PATH_MAX];
    yyjson_doc *doc = NULL;
    snprintf(state, sizeof state, "%s.json", name);
    enum err e = read_json(dir, state, &doc, ei);
    if (e)
        return e;
    const json_val *root = yyjson_doc_get_root(doc);
    bool fine =
        copy_text(root, "name", i.name, sizeof i.name) &&
        copy_text(root, "form", i.form, sizeof i.form) &&
        copy_text(root, "sha256", i.sha256, sizeof i.sha256) &&
        copy_text(root, "published_sha256", i.published_sha256, sizeof i.published_sha256) &&
        copy_text(root, "added", i.added, sizeof i.added) &&
        copy_text(root, "file", file, sizeof file) && *file && !strchr(file, '/');
    i.size = json_get_int(root, "size", -1);
    yyjson_doc_free(doc);
    if (!fine || i.size <= 0 || strcmp(i.name, name) != 0)
        return err_set(ei, ERR_CORRUPT, "%s/%s is damaged; run 'parley model pull %s'", dir, state,
                       name);
    e = path_join(i.path, dir, file, ei);
    if (e)
        return e;
    if (file_bytes(i.path) != i.size)
        return err_set(
            ei, ERR_CORRUPT,
            "%s is missing or has another size than when it was set up; run 'parley model pull %s'",
            i.path, name);
    *ret = i;
    return ERR_OK;
}

bool model_outdated(const struct model *model, const struct model_installed *i) {
    return model->prepared_sha256 && !*i->added && strcmp(model->prepared_sha256, i->sha256) != 0;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const struct model_installed *)a)->name,
                  ((const struct model_installed *)b)->name);
}

void models_added(const char *dir, void (*fn)(void *ctx, const struct model_installed *i),
                  void *ctx) {
    struct model_installed *list = calloc(ADDED_MAX, sizeof *list);
    size_t n = 0;
    DIR *d = list ? opendir(dir) : NULL;
    for (struct dirent *e; d && n < ADDED_MAX && (e = readdir(d)) != NULL;) {
        struct str name = str_from(e->d_name);
        char stem[128];
        if (!str_ends(name, STR(".json")) || name.n - 5 >= sizeof stem ||
            str_eqz(name, "current.json") || str_eqz(name, "forms.json"))
            continue;
        snprintf(stem, sizeof stem, "%.*s", (int)(name.n - 5), e->d_name);
        if (model_installed_get(dir, stem, &list[n], NULL) == ERR_OK && *list[n].added)
            n++;
    }
    if (d)
        closedir(d);
    if (list)
        qsort(list, n, sizeof *list, compare_names);
    for (size_t i = 0; i < n; i++)
        fn(ctx, &list[i]);
    free(list);
}

enum err model_verify(const struct models *m, const struct model_installed *i, struct errinfo *ei) {
    char hex[65];
    struct weights_info info;
    enum err e = file_sha256(m, i->path, hex, ei);
    if (!e && strcmp(hex, i->sha256) != 0)
        e = err_set(ei, ERR_CORRUPT, "%s has SHA-256 %.16s…, and %.16s… was recorded", i->path, hex,
                    i->sha256);
    return e ? e : engine_weights_inspect(i->path, &info, ei);
}

enum err model_forget(const char *dir, const char *name, struct errinfo *ei) {
    struct model_installed i;
    char state[PATH_MAX];
    enum err e = model_installed_get(dir, name, &i, ei);
    if (e == ERR_NOT_FOUND)
        return e;
    if (e == ERR_OK) {
        (void)unlink(i.path);
        char rates[PATH_MAX + 16]; /* what its steps cost */
        snprintf(rates, sizeof rates, "%s.rates.json", i.path);
        (void)unlink(rates);
    }
    snprintf(state, sizeof state, "%s/%s.json", dir, name);
    return unlink(state) == 0 ? ERR_OK : file_errno(ei, "remove", state);
}

enum err model_disown(const char *dir, const char *name, struct errinfo *ei) {
    char state[PATH_MAX];
    snprintf(state, sizeof state, "%s/%s.json", dir, name);
    return unlink(state) == 0 || errno == ENOENT ? ERR_OK : file_errno(ei, "remove", state);
}

/* ---- what is in use ---- */

struct current { /* current.json */
    char chat[128], chat_file[PATH_MAX];
    char embedding[128], embedding_file[PATH_MAX];
    char notice[512];
};

static enum err current_read(const char *dir, struct current *ret, struct errinfo *ei) {
    yyjson_doc *doc = NULL;
    enum err e = read_json(dir, "current.json", &doc, ei);
    if (e == ERR_NOT_FOUND)
        return err_set(ei, e, "no model has been set up yet: run 'parley model pull'");
    if (e)
        return e;
    const json_val *root = yyjson_doc_get_root(doc);
    bool fine =
        copy_text(root, "chat", ret->chat, sizeof ret->chat) &&
        copy_text(root, "chat_file", ret->chat_file, sizeof ret->chat_file) &&
        copy_text(root, "embedding", ret->embedding, sizeof ret->embedding) &&
        copy_text(root, "embedding_file", ret->embedding_file, sizeof ret->embedding_file) &&
        copy_text(root, "notice", ret->notice, sizeof ret->notice);
    yyjson_doc_free(doc);
    return fine ? ERR_OK
                : err_set(ei, ERR_CORRUPT,
                          "%s/current.json is damaged; remove it and run 'parley model pull'", dir);
}

static void add_member(struct buf *b, const char *key, const char *value) {
    buf_addf(b, "%s\"%s\": \"", b->n > 2 ? ",\n  " : "  ", key);
    buf_add_json(b, str_from(value));
    buf_addc(b, '"');
}

static enum err current_write(const char *dir, const struct current *c, struct errinfo *ei) {
    char path[PATH_MAX];
    struct buf b;
    enum err e = folder_make(dir, ei);
    e = e ? e : path_join(path, dir, "current.json", ei);
    if (e)
        return e;
    buf_init(&b, STATE_MAX);
    buf_addz(&b, "{\n");
    add_member(&b, "chat", c->chat);
    add_member(&b, "chat_file", c->chat_file);
    add_member(&b, "embedding", c->embedding);
    add_member(&b, "embedding_file", c->embedding_file);
    add_member(&b, "notice", c->notice);
    buf_addz(&b, "\n}\n");
    e = buf_err(&b) ? err_set(ei, buf_err(&b), NULL) : file_write_text(path, buf_str(&b), ei);
    buf_deinit(&b);
    return e;
}

enum err models_use(const char *dir, enum model_kind kind, const char *name, const char *file,
                    const char *notice, struct errinfo *ei) {
    struct current c = {0};
    enum err e = current_read(dir, &c, ei);
    if (e != ERR_OK && e != ERR_NOT_FOUND && e != ERR_CORRUPT)
        return e;
    bool chat = kind == MODEL_CHAT;
    snprintf(chat ? c.chat : c.embedding, sizeof c.chat, "%s", name);
    snprintf(chat ? c.chat_file : c.embedding_file, sizeof c.chat_file, "%s", file ? file : "");
    if (chat)
        snprintf(c.notice, sizeof c.notice, "%s", notice ? notice : "");
    return current_write(dir, &c, ei);
}

/* The weights of a model in use: those of a file, or of a model that was set up. */
static enum err locate(const char *dir, const char *name, const char *file, char path[PATH_MAX],
                       struct errinfo *ei) {
    struct model_installed i;
    if (*file) {
        snprintf(path, PATH_MAX, "%s", file);
        return ERR_OK;
    }
    enum err e = model_installed_get(dir, name, &i, ei);
    if (e == ERR_NOT_FOUND)
        return err_set(ei, ERR_NO_MODEL, "the model %s is not set up: run 'parley model pull %s'",
                       name, name);
    if (!e)
        strcpy(path, i.path);
    return e;
}

/* Fills in the chat model in use, with its notice. */
static enum err current_chat(const char *dir, struct model_choice *choice, struct errinfo *ei) {
    struct current c = {0};
    enum err e = current_read(dir, &c, ei);
    if (!e && !*c.chat)
        e = err_set(ei, ERR_NOT_FOUND,
                    "no chat model has been set up yet: run 'parley model pull'");
    e = e ? e : locate(dir, c.chat, c.chat_file, choice->chat_path, ei);
    if (e)
        return e;
    strcpy(choice->chat_name, c.chat);
    strcpy(choice->notice, c.notice);
    return ERR_OK;
}

/* Nothing was chosen: the catalogue's own embedding model, where it was set up. */
static enum err default_embedding(const char *dir, struct model_choice *choice,
                                  struct errinfo *ei) {
    struct catalogue c;
    struct model_installed i;
    enum err e = catalogue_builtin(&c, ei);
    if (e)
        return e;
    if (c.embedding && model_installed_get(dir, c.embedding->name, &i, NULL) == ERR_OK) {
        snprintf(choice->embedding_name, sizeof choice->embedding_name, "%s", c.embedding->name);
        strcpy(choice->embedding_path, i.path);
    }
    catalogue_deinit(&c);
    return ERR_OK;
}

/* Fills in the embedding model in use; ERR_OK without one when none was set up. */
static enum err current_embedding(const char *dir, struct model_choice *choice,
                                  struct errinfo *ei) {
    struct current c = {0};
    enum err e = current_read(dir, &c, ei);
    if (e == ERR_NOT_FOUND || (!e && !*c.embedding))
        return default_embedding(dir, choice, ei);
    e = e ? e : locate(dir, c.embedding, c.embedding_file, choice->embedding_path, ei);
    if (!e)
        strcpy(choice->embedding_name, c.embedding);
    return e;
}

enum err models_current(const char *dir, struct model_choice *ret, struct errinfo *ei) {
    struct model_choice choice = {0};
    enum err e = current_chat(dir, &choice, ei);
    e = e ? e : current_embedding(dir, &choice, ei);
    if (!e)
        *ret = choice;
    return e;
}

/* The name under which a weights file is offered: what stands before ".gguf". */
static void file_model_name(const char *path, char *out, size_t size) {
    const char *slash = strrchr(path, '/');
    struct str name = str_from(slash ? slash + 1 : path);
    if (str_ends(name, STR(".gguf")))
        name.n -= 5;
    name.n = utf8_cut(name, size - 1);
    snprintf(out, size, "%.*s", STR_ARG(name));
}

/* A setting that is not empty: a name or a file. */
static enum err choose_one(const char *dir, const char *setting, char *name, size_t name_size,
                           char path[PATH_MAX], struct errinfo *ei) {
    struct catalogue c;
    if (strchr(setting, '/') || str_ends(str_from(setting), STR(".gguf"))) {
        if (file_bytes(setting) < 0)
            return err_set(ei, ERR_NO_MODEL, "there is no model file %s", setting);
        file_model_name(setting, name, name_size);
        snprintf(path, PATH_MAX, "%s", setting);
        return ERR_OK;
    }
    enum err e = catalogue_builtin(&c, ei);
    if (e)
        return e;
    const struct model *model = catalogue_find(&c, str_from(setting));
    struct model_installed added;
    if (!model && model_installed_get(dir, setting, &added, NULL) == ERR_OK) {
        snprintf(name, name_size, "%s", added.name);
        strcpy(path, added.path);
    } else if (!model) {
        e = err_set(ei, ERR_NO_MODEL,
                    "there is no model %s; 'parley model list' shows those that there are",
                    setting);
    } else {
        snprintf(name, name_size, "%s", model->name);
        e = locate(dir, model->name, "", path, ei);
    }
    catalogue_deinit(&c);
    return e;
}

static enum err check_weights(const char *path, struct errinfo *ei) {
    struct weights_info info;
    return *path ? engine_weights_inspect(path, &info, ei) : ERR_OK;
}

static enum err find_embedding(const char *dir, const char *setting, struct model_choice *choice,
                               struct errinfo *ei) {
    enum err e = *setting ? choose_one(dir, setting, choice->embedding_name,
                                       sizeof choice->embedding_name, choice->embedding_path, ei)
                          : current_embedding(dir, choice, ei);
    return e ? e : check_weights(choice->embedding_path, ei);
}

/* Without an embedding model people can still chat: what is wrong with it becomes a notice. */
static void choose_embedding(const char *dir, const char *setting, struct model_choice *choice) {
    struct errinfo why = {0};
    if (strcmp(setting, "none") == 0 || find_embedding(dir, setting, choice, &why) == ERR_OK)
        return;
    *choice->embedding_name = *choice->embedding_path = 0;
    size_t n = strlen(choice->notice);
    snprintf(choice->notice + n, sizeof choice->notice - n, "%sThere are no embeddings: %.300s.",
             n ? " " : "", why.message);
}

enum err models_choose(const char *dir, const char *chat, const char *embedding,
                       struct model_choice *ret, struct errinfo *ei) {
    struct model_choice choice = {0};
    enum err e = *chat ? choose_one(dir, chat, choice.chat_name, sizeof choice.chat_name,
                                    choice.chat_path, ei)
                       : current_chat(dir, &choice, ei);
    e = e ? e : check_weights(choice.chat_path, ei);
    if (e)
        return e;
    choose_embedding(dir, embedding, &choice);
    *ret = choice;
    return ERR_OK;
}

enum err models_choose_embedding(const char *dir, const char *embedding, struct model_choice *ret,
                                 struct errinfo *ei) {
    struct model_choice choice = {0};
    if (strcmp(embedding, "none") == 0)
        return err_set(ei, ERR_NO_MODEL,
                       "the embedding model is switched off in the configuration");
    enum err e = find_embedding(dir, embedding, &choice, ei);
    if (!e && !choice.embedding_path[0])
        e = err_set(ei, ERR_NO_MODEL,
                    "no embedding model is installed: run 'parley model pull all-minilm-l6-v2'");
    if (!e)
        *ret = choice;
    return e;
}

/* ---- the defaults ---- */

static bool read_number(const char *path, int64_t *ret) {
    char line[64];
    uint64_t n;
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool fine =
        fgets(line, sizeof line, f) && str_to_u64(str_trim(str_from(line)), &n) && n <= INT64_MAX;
    fclose(f);
    if (fine)
        *ret = (int64_t)n;
    return fine;
}

int64_t models_machine_memory(void) {
    int64_t memory = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE), limit;
    if (read_number("/sys/fs/cgroup/memory.max", &limit) && limit < memory)
        memory = limit;
    return memory;
}

static enum err pull_and_use(const struct models *m, const struct model *model, const char *notice,
                             struct errinfo *ei) {
    enum err e = model_pull(m, model, ei);
    return e ? e : models_use(m->dir, model->kind, model->name, NULL, notice, ei);
}

/* The default chat model; the small one on a small machine or when no source of the default
 * answers. */
static enum err pull_chat(const struct models *m, const struct catalogue *c, int64_t memory,
                          struct errinfo *ei) {
    char notice[512];
    struct errinfo why = {0};
    if (memory < c->small_below_memory) {
        snprintf(notice, sizeof notice,
                 "This machine has %lld MB of memory, so the small model %s answers.",
                 (long long)(memory >> 20), c->small_chat->title);
        return pull_and_use(m, c->small_chat, notice, ei);
    }
    enum err e = pull_and_use(m, c->chat, NULL, &why);
    if (e == ERR_UPSTREAM || e == ERR_UNAVAILABLE || e == ERR_CORRUPT || e == ERR_TOO_LARGE) {
        models_note(m, "no source of %s answers; taking %s instead", c->chat->name,
                    c->small_chat->name);
        snprintf(notice, sizeof notice,
                 "%s could not be fetched, so the small model %s answers. To try again: parley "
                 "model use %s",
                 c->chat->title, c->small_chat->title, c->chat->name);
        return pull_and_use(m, c->small_chat, notice, ei);
    }
    if (e && ei)
        *ei = why;
    return e;
}

/* A model that was chosen before: pulled again when it is gone. Weights outside the catalogue are
 * left alone. */
static enum err pull_chosen(const struct models *m, const struct catalogue *c, const char *name,
                            const char *file, bool *ret_chosen, struct errinfo *ei) {
    const struct model *model = *name && !*file ? catalogue_find(c, str_from(name)) : NULL;
    struct model_installed added;
    *ret_chosen =
        *file || model || (*name && model_installed_get(m->dir, name, &added, NULL) == ERR_OK);
    return model ? model_pull(m, model, ei) : ERR_OK;
}

enum err models_pull_defaults(const struct models *m, const struct catalogue *c, int64_t memory,
                              struct errinfo *ei) {
    struct current current = {0};
    bool chat = false, embedding = false;
    enum err e = current_read(m->dir, &current, ei);
    if (e == ERR_NOT_FOUND || e == ERR_CORRUPT) {
        e = ERR_OK;
        current = (struct current){0};
    }
    e = e ? e : pull_chosen(m, c, current.chat, current.chat_file, &chat, ei);
    if (!e && !chat)
        e = pull_chat(m, c, memory, ei);
    if (e)
        return e;
    struct errinfo why = {0};
    e = pull_chosen(m, c, current.embedding, current.embedding_file, &embedding, &why);
    if (!e && !embedding)
        e = pull_and_use(m, c->embedding, NULL, &why);
    if (e)
        models_note(m, "going without embeddings (%s); the next start tries again", why.message);
    return ERR_OK;
}
