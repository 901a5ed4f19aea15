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

void server_models_free(struct server *v) {
    for (size_t i = 0; i < v->n_models; i++)
        free(v->models[i].id);
    free(v->models);
    v->models = NULL;
    v->n_models = 0;
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
        m->prefill = positive(parley, "prefill_per_second");
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
static bool same_models(const struct server *v, const struct known_model *models, size_t n) {
    bool same = v->n_models == n;
    for (size_t i = 0; same && i < n; i++)
        same = strcmp(v->models[i].id, models[i].id) == 0;
    return same;
}

static void keep_models(struct server *v, struct known_model *models, size_t n,
                        enum server_kind kind) {
    const struct upstream *u = v->pool;
    for (size_t i = 0; i < n; i++) /* what the configuration names is what it says it is */
        if (u->embedding_model && strcmp(models[i].id, u->embedding_model) == 0)
            models[i].embedding = true;
        else if (u->model && strcmp(models[i].id, u->model) == 0)
            models[i].embedding = false;
    pthread_mutex_lock(&v->pool->lock);
    bool same = same_models(v, models, n);
    if (!same)
        atomic_store(&v->no_counts, false); /* perhaps another server: ask it again */
    for (size_t i = 0; same && i < n; i++)  /* /props told more than the list */
        if (kind == SERVER_LLAMA && v->models[i].window)
            models[i].window = v->models[i].window;
    server_models_free(v);
    v->models = models;
    v->n_models = n;
    v->known = true;
    v->kind = kind;
    pthread_mutex_unlock(&v->pool->lock);
}

enum err server_learn(struct server *v, struct str body, struct errinfo *ei) {
    yyjson_doc *doc;
    if (json_parse(body, &doc, NULL))
        return err_set(ei, ERR_UPSTREAM, "the model server's list of models is not valid JSON");
    json_val *list = json_get(yyjson_doc_get_root(doc), "data");
    size_t i, count, n = 0;
    yyjson_val *item;
    if (!yyjson_is_arr(list)) {
        yyjson_doc_free(doc);
        return err_set(ei, ERR_UPSTREAM, "the model server lists no models at /models");
    }
    struct known_model *models = calloc(yyjson_arr_size(list) + 1, sizeof *models);
    enum server_kind kind = SERVER_UNKNOWN;
    if (models)
        yyjson_arr_foreach(list, i, count, item) {
            if (n < UPSTREAM_MODELS_MAX && read_model(item, &models[n], &kind))
                n++;
        }
    yyjson_doc_free(doc);
    if (!models)
        return err_set(ei, ERR_NOMEM, NULL);
    keep_models(v, models, n, kind);
    return ERR_OK;
}

void server_set_window(struct server *v, int window) {
    pthread_mutex_lock(&v->pool->lock);
    for (size_t i = 0; i < v->n_models; i++)
        v->models[i].window = window;
    pthread_mutex_unlock(&v->pool->lock);
}

/* ---- readiness ---- */

void server_note(struct server *v, enum err e, const struct errinfo *ei) {
    pthread_mutex_lock(&v->pool->lock);
    v->asked = true;
    /* A refused request says nothing about the server's health, a failed or absent server does. */
    v->ready = e == ERR_OK || e == ERR_NO_MODEL || e == ERR_NOT_FOUND;
    if (!v->ready && ei)
        v->why = *ei;
    pthread_mutex_unlock(&v->pool->lock);
}

bool upstream_is_ready(struct upstream *u, struct errinfo *ei) {
    bool ready = false;
    if (ei)
        err_set(ei, ERR_UNAVAILABLE, "the model server was not asked yet");
    pthread_mutex_lock(&u->lock);
    for (int i = 0; i < u->n && !ready; i++) {
        const struct server *v = &u->servers[i];
        ready = v->enabled && v->ready;
        if (!ready && v->asked && ei)
            *ei = v->why;
    }
    pthread_mutex_unlock(&u->lock);
    return ready;
}

bool server_knows_models(struct server *v) {
    pthread_mutex_lock(&v->pool->lock);
    bool known = v->known;
    pthread_mutex_unlock(&v->pool->lock);
    return known;
}

enum server_kind server_kind(struct server *v) {
    pthread_mutex_lock(&v->pool->lock);
    enum server_kind kind = v->kind;
    pthread_mutex_unlock(&v->pool->lock);
    return kind;
}

bool server_is_parley(struct server *v) {
    return server_kind(v) == SERVER_PARLEY;
}

bool upstream_goes_on(struct upstream *u) {
    for (int i = 0; i < u->n; i++)
        if (!server_is_parley(&u->servers[i]))
            return false;
    return true;
}

/* ---- the models of one server, and of all; holding the lock ---- */

const struct known_model *server_find(const struct server *v, struct str model) {
    for (size_t i = 0; i < v->n_models; i++) {
        const struct known_model *m = &v->models[i];
        if (model.n ? str_eqz(model, m->id) : !m->embedding)
            return m;
    }
    return NULL;
}

static const struct known_model *find(const struct upstream *u, struct str model) {
    const struct known_model *m = NULL;
    for (int i = 0; i < u->n && !m; i++)
        m = server_find(&u->servers[i], model);
    return m;
}

static bool any_known(const struct upstream *u) {
    for (int i = 0; i < u->n; i++)
        if (u->servers[i].known)
            return true;
    return false;
}

/* Borrowed while the lock is held, STR_NULL if none. */
static struct str default_of(const struct server *v) {
    if (v->pool->model)
        return str_from(v->pool->model);
    const struct known_model *m = server_find(v, STR_NULL);
    return m ? str_from(m->id) : STR_NULL;
}

static struct str default_model(const struct upstream *u) {
    struct str name = STR_NULL;
    for (int i = 0; i < u->n && !name.n; i++)
        name = default_of(&u->servers[i]);
    return name;
}

static struct str embedding_of(const struct server *v) {
    if (v->pool->embedding_model)
        return str_from(v->pool->embedding_model);
    for (size_t i = 0; i < v->n_models; i++)
        if (v->models[i].embedding)
            return str_from(v->models[i].id);
    return STR_NULL;
}

static struct str embedding_model(const struct upstream *u) {
    struct str name = STR_NULL;
    for (int i = 0; i < u->n && !name.n; i++)
        name = embedding_of(&u->servers[i]);
    return name;
}

/* ---- what others ask ---- */

static bool has(const struct upstream_model *list, size_t n, const char *id) {
    for (size_t i = 0; i < n; i++)
        if (str_eqz(list[i].id, id))
            return true;
    return false;
}

enum err upstream_models(struct upstream *u, struct arena *a, struct upstream_model **ret,
                         size_t *ret_n) {
    enum err e = ERR_OK;
    size_t n = 0, most = 1;
    pthread_mutex_lock(&u->lock);
    for (int i = 0; i < u->n; i++)
        most += u->servers[i].n_models;
    struct upstream_model *list = arena_array(a, most, sizeof *list);
    if (!any_known(u))
        e = ERR_UNAVAILABLE;
    else if (!list)
        e = ERR_NOMEM;
    for (int k = 0; !e && k < u->n; k++)
        for (size_t i = 0; !e && i < u->servers[k].n_models; i++) {
            const struct known_model *m = &u->servers[k].models[i];
            if (k && has(list, n, m->id))
                continue;
            list[n] = (struct upstream_model){arena_str(a, str_from(m->id)), m->embedding,
                                              u->window && !m->embedding ? u->window : m->window};
            e = list[n++].id.p ? ERR_OK : ERR_NOMEM;
        }
    pthread_mutex_unlock(&u->lock);
    if (e)
        return e;
    *ret = list;
    *ret_n = n;
    return ERR_OK;
}

bool upstream_has_model(struct upstream *u, struct str id) {
    pthread_mutex_lock(&u->lock);
    bool found = id.n && find(u, id) != NULL;
    pthread_mutex_unlock(&u->lock);
    return found;
}

static enum err copy_name(struct upstream *u, struct str (*which)(const struct upstream *u),
                          struct arena *a, struct str *ret) {
    enum err e = ERR_OK;
    pthread_mutex_lock(&u->lock);
    struct str name = which(u);
    if (!name.n)
        e = any_known(u) ? ERR_NO_MODEL : ERR_UNAVAILABLE;
    struct str copy = name.n ? arena_str(a, name) : STR_NULL;
    pthread_mutex_unlock(&u->lock);
    if (e)
        return e;
    if (!copy.p)
        return ERR_NOMEM;
    *ret = copy;
    return ERR_OK;
}

enum err upstream_default_model(struct upstream *u, struct arena *a, struct str *ret) {
    return copy_name(u, default_model, a, ret);
}

enum err upstream_embedding_model(struct upstream *u, struct arena *a, struct str *ret) {
    return copy_name(u, embedding_model, a, ret);
}

static enum err add_name(struct server *v, struct str model,
                         struct str (*standard)(const struct server *v), struct buf *b) {
    pthread_mutex_lock(&v->pool->lock);
    struct str name = model.n ? model : standard(v);
    buf_add_json(b, name);
    pthread_mutex_unlock(&v->pool->lock);
    return name.n ? ERR_OK : ERR_NO_MODEL;
}

enum err server_add_model(struct server *v, struct str model, struct buf *b) {
    return add_name(v, model, default_of, b);
}

enum err server_add_embedding_model(struct server *v, struct str model, struct buf *b) {
    return add_name(v, model, embedding_of, b);
}

/* The smallest of the servers that may answer: the prompt must fit whichever it is. */
int upstream_context_window(struct upstream *u, struct str model) {
    int window = 0;
    pthread_mutex_lock(&u->lock);
    struct str name = model.n ? model : default_model(u);
    for (int i = 0; i < u->n; i++) {
        const struct known_model *m = server_find(&u->servers[i], name);
        if (m && m->window && (!window || m->window < window))
            window = m->window;
    }
    if (u->window)
        window = u->window;
    pthread_mutex_unlock(&u->lock);
    return window ? window : UPSTREAM_WINDOW;
}

/* The least of the servers that may answer. */
int upstream_reads(struct upstream *u, struct str model, int64_t waited_ms) {
    int least = INT_MAX;
    pthread_mutex_lock(&u->lock);
    struct str name = model.n ? model : default_model(u);
    for (int i = 0; i < u->n; i++) {
        const struct server *v = &u->servers[i];
        const struct known_model *m = server_find(v, name);
        int reads = m || u->n == 1 ? reading_of(v, m, waited_ms) : INT_MAX;
        least = reads < least ? reads : least;
    }
    pthread_mutex_unlock(&u->lock);
    return least == INT_MAX || least < UPSTREAM_READS_MIN ? UPSTREAM_READS_MIN : least;
}

int upstream_message_overhead(struct upstream *u, struct str model) {
    pthread_mutex_lock(&u->lock);
    const struct known_model *m = find(u, model.n ? model : default_model(u));
    int overhead = m && m->overhead ? m->overhead : UPSTREAM_OVERHEAD;
    pthread_mutex_unlock(&u->lock);
    return overhead;
}
