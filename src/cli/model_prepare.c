/* From published files to the weights that the engine runs, and the whole of a pull; see models.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "cli/model_forms.h"
#include "engine/weights.h"

#define ROOM_BESIDE ((int64_t)128 << 20) /* for a package while it is unpacked */

extern const unsigned char models_minilm_script[]; /* tools/minilm_to_gguf.py, NUL-terminated */
extern const unsigned char models_minilm_deltas[]; /* data/safety/encoder.safetensors */
extern const size_t models_minilm_deltas_size;

struct convert_progress {
    const struct models *models;
    int64_t size;
    char label[160];
};

static void on_convert(double fraction, void *ctx) {
    const struct convert_progress *p = ctx;
    models_progress(p->models, p->label, (int64_t)(fraction * (double)p->size), p->size);
}

enum err weights_in_form(const struct models *m, const char *label, const char *in,
                         const char *folder, const char *form, const char *out,
                         struct errinfo *ei) {
    char made[PATH_MAX];
    struct weights_info info;
    struct convert_progress p = {.models = m, .size = file_bytes(in)};
    snprintf(p.label, sizeof p.label, "%s to %s", label, form);
    enum err e = model_forms_path(made, folder, form, ei);
    e = e ? e : engine_weights_inspect(in, &info, ei);
    if (e)
        return e;
    if (file_bytes(made) >= 0) /* from measuring */
        return rename(made, out) == 0 ? ERR_OK : file_errno(ei, "rename", made);
    if (strcmp(info.form, form) == 0)
        return file_copy(in, out, ei);
    return engine_weights_convert(in, out, form, 0, on_convert, &p, ei);
}

static enum err prepare_minilm(const struct models *m, const struct model *model, const char *out,
                               struct errinfo *ei) {
    char python[PATH_MAX], folder[PATH_MAX], log[PATH_MAX], part[PATH_MAX], deltas[PATH_MAX];
    enum err e = path_incoming(folder, m->dir, model, NULL, ei);
    e = e ? e : path_incoming(log, m->dir, model, "convert.log", ei);
    e = e ? e : path_incoming(part, m->dir, model, "converted.gguf", ei);
    e = e ? e : path_incoming(deltas, m->dir, model, "encoder.safetensors", ei);
    const struct str bytes = {(const char *)models_minilm_deltas, models_minilm_deltas_size};
    e = e ? e : file_write_text(deltas, bytes, ei);
    if (e)
        return e;
    child_python(python);
    char *argv[] = {python, "-c", (char *)models_minilm_script, folder, part, deltas, NULL};
    struct errinfo why = {0};
    e = child_run(&(struct child){argv, NULL, -1, log, NULL, NULL}, &why);
    if (e == ERR_DISK_FULL)
        return err_set(ei, e, NULL);
    if (e)
        return err_set(
            ei, e,
            "converting %s failed: %.300s. It needs the Python packages of tools/requirements.txt: "
            "run scripts/python-tools, or name a Python that has them in PARLEY_PYTHON.",
            model->name, why.message);
    return rename(part, out) == 0 ? ERR_OK : file_errno(ei, "rename", part);
}

/* The form to run: measured for chat models. One that cannot be measured is run as the catalogue
 * says. */
static void choose_form(const struct models *m, const struct model *model, const char *folder,
                        char form[32]) {
    struct model_forms forms;
    struct errinfo why;
    char in[PATH_MAX];
    snprintf(form, 32, "%s", model->form);
    if (model->convert != CONVERT_REQUANTISE || path_join(in, folder, model->files[0].name, NULL))
        return;
    if (model_forms_choose(m, model->name, in, model->files[0].sha256, folder, &forms, &why)) {
        models_note(m, "%s: taken as %s, since its forms could not be measured: %s", model->name,
                    model->form, why.message);
        return;
    }
    model_forms_show(m, &forms);
    snprintf(form, 32, "%s", model_forms_chosen(&forms)->name);
}

static enum err prepare(const struct models *m, const struct model *model, const char *folder,
                        const char *form, const char *out, struct errinfo *ei) {
    char in[PATH_MAX];
    enum err e;
    switch (model->convert) {
    case CONVERT_REQUANTISE:
        e = path_join(in, folder, model->files[0].name, ei);
        return e ? e : weights_in_form(m, model->name, in, folder, form, out, ei);
    case CONVERT_MINILM:
        return prepare_minilm(m, model, out, ei);
    }
    return err_set(ei, ERR_INTERNAL, NULL);
}

/* Refused before anything is fetched, rather than after 400 MB. */
static enum err check_room(const struct models *m, const struct model *model, struct errinfo *ei) {
    struct statvfs fs;
    /* while its forms are measured, two of them stand beside what was fetched */
    int64_t need = model->prepared_size * (model->convert == CONVERT_REQUANTISE ? 2 : 1) +
                   ROOM_BESIDE - model_fetched_bytes(m->dir, model);
    for (size_t i = 0; i < model->n_files; i++)
        need += model->files[i].size;
    if (statvfs(m->dir, &fs) != 0)
        return file_errno(ei, "look at", m->dir);
    int64_t room = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
    if (room < need)
        return err_set(ei, ERR_DISK_FULL,
                       "%s needs %lld MB in %s while it is set up, and %lld MB are free",
                       model->name, (long long)(need >> 20), m->dir, (long long)(room >> 20));
    return ERR_OK;
}

/* The prepared file's hash is recorded, and compared where preparing gives the same everywhere. */
static enum err check_prepared(const struct models *m, const struct model *model, const char *path,
                               char hex[65], struct errinfo *ei) {
    struct weights_info info;
    enum err e = engine_weights_inspect(path, &info, ei);
    e = e ? e : file_sha256(m, path, hex, ei);
    if (!e && model->prepared_sha256 && strcmp(hex, model->prepared_sha256) != 0)
        e = err_set(ei, ERR_CORRUPT, "%s as prepared has SHA-256 %.16s… instead of %.16s…",
                    model->name, hex, model->prepared_sha256);
    return e;
}

enum err model_record(const struct models *m, const struct model_record *r, struct errinfo *ei) {
    char path[PATH_MAX], name[PATH_MAX];
    struct buf text;
    snprintf(name, sizeof name, "%s.json", r->name);
    enum err e = path_join(path, m->dir, name, ei);
    if (e)
        return e;
    buf_init(&text, 8192); /* names and hashes are plain ASCII: they were checked */
    buf_addf(&text,
             "{\n  \"name\": \"%s\",\n  \"form\": \"%s\",\n  \"file\": \"%s\",\n  \"size\": %lld,\n"
             "  \"sha256\": \"%s\",\n  \"published_sha256\": \"%s\",\n  \"added\": \"%s\"\n}\n",
             r->name, r->form, r->file, (long long)r->size, r->sha256, r->published_sha256,
             r->added);
    e = buf_err(&text) ? err_set(ei, buf_err(&text), NULL)
                       : file_write_text(path, buf_str(&text), ei);
    buf_deinit(&text);
    return e;
}

/* What an earlier version set up stays in use until the new weights are known to be right, beside
 * it. */
static enum err prepare_beside(const struct models *m, const struct model *model,
                               const char *incoming, const char *form, struct errinfo *ei) {
    char name[PATH_MAX], out[PATH_MAX], fresh[PATH_MAX], hex[65];
    snprintf(name, sizeof name, "%s.%s.gguf.new", model->name, form);
    enum err e = path_join(fresh, m->dir, name, ei);
    name[strlen(name) - strlen(".new")] = 0;
    e = e ? e : path_join(out, m->dir, name, ei);
    if (e)
        return e;
    e = prepare(m, model, incoming, form, fresh, ei);
    e = e ? e : check_prepared(m, model, fresh, hex, ei);
    if (!e && rename(fresh, out) != 0)
        e = file_errno(ei, "rename", fresh);
    (void)unlink(fresh); /* also when both are names of one file, and renaming did nothing */
    if (e)
        return e;
    const struct model_record r = {
        model->name, form, name, hex, model->files[model->n_files - 1].sha256, "", file_bytes(out)};
    return model_record(m, &r, ei);
}

static enum err fetch_and_prepare(const struct models *m, const struct model *model,
                                  struct errinfo *ei) {
    char incoming[PATH_MAX], form[32];
    enum err e = path_incoming(incoming, m->dir, model, NULL, ei);
    e = e ? e : check_room(m, model, ei);
    e = e ? e : model_fetch(m, model, ei);
    if (e)
        return e;
    models_note(m, "%s: fetched and verified", model->name);
    choose_form(m, model, incoming, form);
    e = prepare_beside(m, model, incoming, form, ei);
    if (e)
        return e;
    folder_remove(incoming);
    models_note(m, "%s: ready as %s", model->name, form);
    return ERR_OK;
}

/* One process changes the folder at a time. The lock goes with the descriptor, also when we die. */
enum err models_lock(const struct models *m, int *ret_fd, struct errinfo *ei) {
    char path[PATH_MAX];
    enum err e = folder_make(m->dir, ei);
    e = e ? e : path_join(path, m->dir, ".lock", ei);
    if (e)
        return e;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return file_errno(ei, "open", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        models_note(m, "another process is changing %s; waiting for it", m->dir);
        while (flock(fd, LOCK_EX) != 0 && errno == EINTR) {
        }
    }
    *ret_fd = fd;
    return ERR_OK;
}

enum err model_pull(const struct models *m, const struct model *model, struct errinfo *ei) {
    struct model_installed installed;
    int lock = -1;
    enum err e = models_lock(m, &lock, ei);
    if (e)
        return e;
    e = model_installed_get(m->dir, model->name, &installed, ei);
    if (e == ERR_CORRUPT)
        models_note(m, "%s is damaged and will be set up again", model->name);
    bool old = !e && model_outdated(model, &installed);
    if (old)
        models_note(m, "%s is of an earlier version and will be set up again", model->name);
    if (old || e == ERR_CORRUPT || e == ERR_NOT_FOUND)
        e = fetch_and_prepare(m, model, ei);
    close(lock);
    return e;
}
