#include "cli/model_forms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/json.h"

#define MEMORY_MAX (1 << 20) /* bytes of forms.json; past them it begins anew */

extern const unsigned char models_measure_text[]; /* models/measure.txt, NUL-terminated */

static const char *const candidates[] = {"Q8_0", "Q4_0"};

/* ---- deciding ---- */

static double turn_seconds(const struct weights_speed *s) {
    return FORMS_FRESH / s->prefill + FORMS_ANSWER / s->together;
}

void model_forms_decide(struct model_forms *f) {
    struct model_form *best = NULL;
    double shipped = 0;
    for (int i = 0; i < f->n; i++)
        if (f->forms[i].shipped)
            shipped = f->forms[i].speed.perplexity;
    for (int i = 0; i < f->n; i++) {
        struct model_form *form = &f->forms[i];
        form->chosen = false;
        if (form->speed.perplexity <= shipped * (1 + FORMS_LOSS) &&
            (!best || turn_seconds(&form->speed) < turn_seconds(&best->speed)))
            best = form;
    }
    if (best)
        best->chosen = true;
}

const struct model_form *model_forms_chosen(const struct model_forms *f) {
    for (int i = 0; i < f->n; i++)
        if (f->forms[i].chosen)
            return &f->forms[i];
    return NULL;
}

void model_forms_show(const struct models *m, const struct model_forms *f) {
    models_note(m, "%-8s %9s %9s %10s %11s   (tokens per second)", "form", "prefill", "1 answer",
                "4 answers", "perplexity");
    for (int i = 0; i < f->n; i++) {
        const struct model_form *form = &f->forms[i];
        models_note(m, "%-8s %9.0f %9.1f %10.1f %11.3f   %s%s", form->name, form->speed.prefill,
                    form->speed.decode, form->speed.together, form->speed.perplexity,
                    form->shipped ? "as shipped " : "", form->chosen ? "<- taken" : "");
    }
}

/* ---- what is remembered ---- */

/* The published file and the CPU (model and features) as one short key. */
static void key_of(const char *sha256, char out[65]) {
    char line[8192], text[16384];
    FILE *f = fopen("/proc/cpuinfo", "re");
    size_t n =
        (size_t)snprintf(text, sizeof text, "%s %ld\n", sha256, sysconf(_SC_NPROCESSORS_ONLN));
    bool model = false, flags = false;
    while (f && fgets(line, sizeof line, f)) {
        bool *seen = strncmp(line, "model name", 10) == 0                                  ? &model
                     : strncmp(line, "flags", 5) == 0 || strncmp(line, "Features", 8) == 0 ? &flags
                                                                                           : NULL;
        if (!seen || *seen || n + strlen(line) >= sizeof text)
            continue;
        *seen = true;
        n += (size_t)snprintf(text + n, sizeof text - n, "%s", line);
    }
    if (f)
        fclose(f);
    sha256_hex((struct str){text, n}, out);
}

static enum err read_memory(const char *dir, yyjson_doc **ret) {
    char path[PATH_MAX];
    struct buf text;
    enum err e = path_join(path, dir, "forms.json", NULL);
    e = e ? e : file_read_text(path, MEMORY_MAX, &text, NULL);
    if (e)
        return e;
    e = json_parse(buf_str(&text), ret, NULL);
    buf_deinit(&text);
    return e;
}

static bool read_form(const json_val *v, struct model_form *to) {
    struct str name = json_get_str(v, "form");
    *to = (struct model_form){.shipped = json_get_bool(v, "shipped", false),
                              .speed = {.prefill = json_get_num(v, "prefill", 0),
                                        .decode = json_get_num(v, "decode", 0),
                                        .together = json_get_num(v, "together", 0),
                                        .perplexity = json_get_num(v, "perplexity", 0)}};
    snprintf(to->name, sizeof to->name, "%.*s", STR_ARG(str_sub(name, 0, sizeof to->name - 1)));
    return name.n > 0 && to->speed.prefill > 0 && to->speed.together > 0 &&
           to->speed.perplexity > 0;
}

enum err model_forms_recall(const char *dir, const char *sha256, struct model_forms *ret) {
    struct model_forms f = {0};
    char key[65];
    yyjson_doc *doc;
    size_t i, max;
    json_val *v;
    enum err e = read_memory(dir, &doc);
    if (e)
        return ERR_NOT_FOUND;
    key_of(sha256, key);
    yyjson_arr_foreach(json_get(yyjson_doc_get_root(doc), key), i, max, v) {
        if (f.n < FORMS_MAX && read_form(v, &f.forms[f.n]))
            f.n++;
    }
    yyjson_doc_free(doc);
    model_forms_decide(&f);
    if (!model_forms_chosen(&f))
        return ERR_NOT_FOUND;
    *ret = f;
    return ERR_OK;
}

/* Remembering is a saving of time: a failure is not one of the model's. */
static void remember(const char *dir, const char *sha256, const struct model_forms *f) {
    char key[65], path[PATH_MAX];
    yyjson_doc *old = NULL;
    if (path_join(path, dir, "forms.json", NULL) || (read_memory(dir, &old) && old))
        return;
    yyjson_mut_doc *doc = old ? yyjson_doc_mut_copy(old, NULL) : yyjson_mut_doc_new(NULL);
    yyjson_doc_free(old);
    if (!yyjson_mut_is_obj(yyjson_mut_doc_get_root(doc)))
        yyjson_mut_doc_set_root(doc, yyjson_mut_obj(doc));
    yyjson_mut_val *list = yyjson_mut_arr(doc);
    for (int i = 0; i < f->n; i++) {
        yyjson_mut_val *form = yyjson_mut_arr_add_obj(doc, list);
        yyjson_mut_obj_add_strcpy(doc, form, "form", f->forms[i].name);
        yyjson_mut_obj_add_bool(doc, form, "shipped", f->forms[i].shipped);
        yyjson_mut_obj_add_real(doc, form, "prefill", f->forms[i].speed.prefill);
        yyjson_mut_obj_add_real(doc, form, "decode", f->forms[i].speed.decode);
        yyjson_mut_obj_add_real(doc, form, "together", f->forms[i].speed.together);
        yyjson_mut_obj_add_real(doc, form, "perplexity", f->forms[i].speed.perplexity);
    }
    key_of(sha256, key);
    yyjson_mut_obj_put(yyjson_mut_doc_get_root(doc), yyjson_mut_strcpy(doc, key), list);
    struct buf text;
    buf_init(&text, MEMORY_MAX);
    json_write_mut(&text, doc);
    if (!buf_err(&text))
        (void)!file_write_text(path, buf_str(&text), NULL);
    buf_deinit(&text);
    yyjson_mut_doc_free(doc);
}

/* ---- measuring ---- */

struct convert_progress {
    const struct models *models;
    char label[160];
    int64_t size;
};

static void on_convert(double fraction, void *ctx) {
    const struct convert_progress *p = ctx;
    models_progress(p->models, p->label, (int64_t)(fraction * (double)p->size), p->size);
}

static enum err measure_one(const struct models *m, const char *label, const char *path,
                            struct model_form *form, struct errinfo *ei) {
    models_note(m, "%s: measuring %s", label, form->name);
    return engine_weights_measure(path, str_from((const char *)models_measure_text), 0,
                                  &form->speed, ei);
}

enum err model_forms_path(char out[PATH_MAX], const char *folder, const char *form,
                          struct errinfo *ei) {
    char name[64];
    snprintf(name, sizeof name, "form-%.32s.gguf", form);
    return path_join(out, folder, name, ei);
}

static enum err try_form(const struct models *m, const char *label, const char *in,
                         const char *folder, struct model_form *form, struct errinfo *ei) {
    char path[PATH_MAX];
    struct convert_progress p = {.models = m, .size = file_bytes(in)};
    snprintf(p.label, sizeof p.label, "%s to %s", label, form->name);
    enum err e = model_forms_path(path, folder, form->name, ei);
    e = e ? e : engine_weights_convert(in, path, form->name, 0, on_convert, &p, ei);
    e = e ? e : measure_one(m, label, path, form, ei);
    if (e)
        (void)unlink(path);
    return e;
}

enum err model_forms_choose(const struct models *m, const char *label, const char *in,
                            const char *sha256, const char *folder, struct model_forms *ret,
                            struct errinfo *ei) {
    struct weights_info info;
    struct model_forms f = {.n = 1};
    if (model_forms_recall(m->dir, sha256, ret) == ERR_OK) {
        models_note(m, "%s: measured on this machine before", label);
        return ERR_OK;
    }
    enum err e = engine_weights_inspect(in, &info, ei);
    if (e)
        return e;
    f.forms[0].shipped = true;
    snprintf(f.forms[0].name, sizeof f.forms[0].name, "%s", info.form);
    e = measure_one(m, label, in, &f.forms[0], ei);
    if (e)
        return e;
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
        struct errinfo why;
        struct model_form *form = &f.forms[f.n];
        if (strcmp(candidates[i], info.form) == 0)
            continue;
        *form = (struct model_form){0};
        snprintf(form->name, sizeof form->name, "%s", candidates[i]);
        if (try_form(m, label, in, folder, form, &why) == ERR_OK)
            f.n++;
        else
            models_note(m, "%s: %s is left out: %s", label, candidates[i], why.message);
    }
    model_forms_decide(&f);
    remember(m->dir, sha256, &f);
    *ret = f;
    return ERR_OK;
}
