/* What is known of the model server: its models, whether it is one of ours, whether it is ready.
 *
 *   GET /models → {"data":[{"id","parley":{"kind","context_window","template_overhead"}      ours
 *                           "max_model_len":n                                               vLLM
 *                           "meta":{"n_ctx_train":n}}]} llama-server (Ollama and the cloud servers
 * tell the name only.) */
#include <limits.h>
#include <stdlib.h>

#include "upstream/upstream_internal.h"

#define ID_MAX 256

void upstream_models_free(struct upstream *u) {
    for (size_t i = 0; i < u->n_models; i++)
        free(u->models[i].id);
    free(u->models);
    u->models = NULL;
    u->n_models = 0;
}

static int positive(const json_val *obj, const char *key) {
    int64_t n = json_get_int(obj, key, 0);
    return n > 0 && n <= INT_MAX / 4 ? (int)n : 0;
}

/* Servers that do not tell the kind have it in the name. */
static bool sounds_like_embedding(struct str id) {
    static const char *const words[] = {"embed", "minilm", "bge-", "gte-", "e5-"};
    for (size_t w = 0; w < sizeof words / sizeof *words; w++)
        for (size_t i = 0; i < id.n; i++)
            if (str_eq_nocase(str_sub(id, i, strlen(words[w])), str_from(words[w])))
                return true;
    return false;
}

static bool read_model(const json_val *v, struct known_model *m, enum server_kind *ret_kind) {
    struct str id = json_get_str(v, "id");
    json_val *parley = json_get(v, "parley");
    if (id.n == 0 || id.n > ID_MAX || memchr(id.p, 0, id.n))
        return false;
    if (yyjson_is_obj(parley)) {
        *ret_kind = SERVER_PARLEY;
        m->embedding = str_eqz(json_get_str(parley, "kind"), "embedding");
        m->window = positive(parley, "context_window");
        m->overhead = positive(parley, "template_overhead");
    } else {
        m->embedding = sounds_like_embedding(id);
        m->window = positive(v, "max_model_len");
        if (m->window)
            *ret_kind = SERVER_VLLM;
        else if (yyjson_is_obj(json_get(v, "meta")))
            *ret_kind = SERVER_LLAMA;
        if (!m->window) /* a guess: llama-server's own window is in /props */
            m->window = positive(json_get(v, "meta"), "n_ctx_train");
    }
    m->id = strndup(id.p, id.n);
    return m->id != NULL;
}

/* Holding the lock. */
static bool same_models(const struct upstream *u, const struct known_model *models, size_t n) {
    bool same = u->n_models == n;
    for (size_t i = 0; same && i < n; i++)
        same = strcmp(u->models[i].id, models[i].id) == 0;
    return same;
}

enum err upstream_learn(struct upstream *u, struct str body, struct errinfo *ei) {
    yyjson_doc *doc;
    if (json_parse(body, &doc, NULL))
        return err_set(ei, ERR_UPSTREAM, "the model server's list of models is not valid JSON");
    json_val *list = json_get(yyjson_doc_get_root(doc), "data");
    size_t i, count, n = 0;
    yyjson_val *v;
    if (!yyjson_is_arr(list)) {
        yyjson_doc_free(doc);
        return err_set(ei, ERR_UPSTREAM, "the model server lists no models at /models");
    }
    struct known_model *models = calloc(yyjson_arr_size(list) + 1, sizeof *models);
    enum server_kind kind = SERVER_UNKNOWN;
    if (models)
        yyjson_arr_foreach(list, i, count, v) {
            if (n < UPSTREAM_MODELS_MAX && read_model(v, &models[n], &kind))
                n++;
        }
    yyjson_doc_free(doc);
    if (!models)
        return err_set(ei, ERR_NOMEM, NULL);
    for (i = 0; i < n; i++) /* what the configuration names is what it says it is */
        if (u->embedding_model && strcmp(models[i].id, u->embedding_model) == 0)
            models[i].embedding = true;
        else if (u->model && strcmp(models[i].id, u->model) == 0)
            models[i].embedding = false;
    pthread_mutex_lock(&u->lock);
    if (!same_models(u, models, n))
        atomic_store(&u->no_counts, false); /* perhaps another server: ask it again */
    upstream_models_free(u);
    u->models = models;
    u->n_models = n;
    u->known = true;
    u->kind = kind;
    pthread_mutex_unlock(&u->lock);
    return ERR_OK;
}

void upstream_note(struct upstream *u, enum err e, const struct errinfo *ei) {
    pthread_mutex_lock(&u->lock);
    u->asked = true;
    /* A refused request says nothing about the server's health, a failed or absent server does. */
    u->ready = e == ERR_OK || e == ERR_NO_MODEL || e == ERR_NOT_FOUND;
    if (!u->ready && ei)
        u->why = *ei;
    pthread_mutex_unlock(&u->lock);
}

bool upstream_is_ready(struct upstream *u, struct errinfo *ei) {
    pthread_mutex_lock(&u->lock);
    bool ready = u->ready;
    if (!ready && ei) {
        if (u->asked)
            *ei = u->why;
        else
            err_set(ei, ERR_UNAVAILABLE, "the model server was not asked yet");
    }
    pthread_mutex_unlock(&u->lock);
    return ready;
}

bool upstream_knows_models(struct upstream *u) {
    pthread_mutex_lock(&u->lock);
    bool known = u->known;
    pthread_mutex_unlock(&u->lock);
    return known;
}

enum server_kind upstream_kind(struct upstream *u) {
    pthread_mutex_lock(&u->lock);
    enum server_kind kind = u->kind;
    pthread_mutex_unlock(&u->lock);
    return kind;
}

bool upstream_goes_on(struct upstream *u) {
    return upstream_kind(u) == SERVER_PARLEY;
}

bool upstream_is_parley(struct upstream *u) {
    return upstream_kind(u) == SERVER_PARLEY;
}

enum err upstream_models(struct upstream *u, struct arena *a, struct upstream_model **ret,
                         size_t *ret_n) {
    enum err e = ERR_OK;
    pthread_mutex_lock(&u->lock);
    struct upstream_model *list = arena_array(a, u->n_models + 1, sizeof *list);
    if (!u->known)
        e = ERR_UNAVAILABLE;
    else if (!list)
        e = ERR_NOMEM;
    for (size_t i = 0; !e && i < u->n_models; i++) {
        const struct known_model *m = &u->models[i];
        list[i] = (struct upstream_model){arena_str(a, str_from(m->id)), m->embedding,
                                          u->window && !m->embedding ? u->window : m->window};
        if (!list[i].id.p)
            e = ERR_NOMEM;
    }
    size_t n = u->n_models;
    pthread_mutex_unlock(&u->lock);
    if (e)
        return e;
    *ret = list;
    *ret_n = n;
    return ERR_OK;
}

/* Holding the lock. model STR_NULL: the first chat model. */
static const struct known_model *find(const struct upstream *u, struct str model) {
    for (size_t i = 0; i < u->n_models; i++) {
        const struct known_model *m = &u->models[i];
        if (model.n ? str_eqz(model, m->id) : !m->embedding)
            return m;
    }
    return NULL;
}

bool upstream_has_model(struct upstream *u, struct str id) {
    pthread_mutex_lock(&u->lock);
    bool has = id.n && find(u, id) != NULL;
    pthread_mutex_unlock(&u->lock);
    return has;
}

/* Holding the lock; borrowed while it is held, STR_NULL if none. */
static struct str default_model(const struct upstream *u) {
    if (u->model)
        return str_from(u->model);
    const struct known_model *m = find(u, STR_NULL);
    return m ? str_from(m->id) : STR_NULL;
}

enum err upstream_default_model(struct upstream *u, struct arena *a, struct str *ret) {
    enum err e = ERR_OK;
    pthread_mutex_lock(&u->lock);
    struct str name = default_model(u);
    if (!name.n)
        e = u->known ? ERR_NO_MODEL : ERR_UNAVAILABLE;
    struct str copy = name.n ? arena_str(a, name) : STR_NULL;
    pthread_mutex_unlock(&u->lock);
    if (e)
        return e;
    if (!copy.p)
        return ERR_NOMEM;
    *ret = copy;
    return ERR_OK;
}

enum err upstream_add_model(struct upstream *u, struct str model, struct buf *b) {
    pthread_mutex_lock(&u->lock);
    struct str name = model.n ? model : default_model(u);
    buf_add_json(b, name);
    pthread_mutex_unlock(&u->lock);
    return name.n ? ERR_OK : ERR_NO_MODEL;
}

/* Holding the lock; borrowed while it is held, STR_NULL if none. */
static struct str embedding_model(const struct upstream *u) {
    if (u->embedding_model)
        return str_from(u->embedding_model);
    for (size_t i = 0; i < u->n_models; i++)
        if (u->models[i].embedding)
            return str_from(u->models[i].id);
    return STR_NULL;
}

enum err upstream_embedding_model(struct upstream *u, struct arena *a, struct str *ret) {
    pthread_mutex_lock(&u->lock);
    struct str name = embedding_model(u);
    enum err e = name.n ? ERR_OK : u->known ? ERR_NO_MODEL : ERR_UNAVAILABLE;
    struct str copy = name.n ? arena_str(a, name) : STR_NULL;
    pthread_mutex_unlock(&u->lock);
    if (e)
        return e;
    if (!copy.p)
        return ERR_NOMEM;
    *ret = copy;
    return ERR_OK;
}

enum err upstream_add_embedding_model(struct upstream *u, struct str model, struct buf *b) {
    pthread_mutex_lock(&u->lock);
    struct str name = model.n ? model : embedding_model(u);
    buf_add_json(b, name);
    pthread_mutex_unlock(&u->lock);
    return name.n ? ERR_OK : ERR_NO_MODEL;
}

int upstream_context_window(struct upstream *u, struct str model) {
    pthread_mutex_lock(&u->lock);
    const struct known_model *m = find(u, model.n ? model : default_model(u));
    int window = u->window ? u->window : m && m->window ? m->window : UPSTREAM_WINDOW;
    pthread_mutex_unlock(&u->lock);
    return window;
}

int upstream_message_overhead(struct upstream *u, struct str model) {
    pthread_mutex_lock(&u->lock);
    const struct known_model *m = find(u, model.n ? model : default_model(u));
    int overhead = m && m->overhead ? m->overhead : UPSTREAM_OVERHEAD;
    pthread_mutex_unlock(&u->lock);
    return overhead;
}
