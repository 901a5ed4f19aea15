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
#include "cli/models_internal.h"
#include "engine/weights.h"

#define ROOM_BESIDE ((int64_t)128 << 20) /* for a package while it is unpacked */

extern const unsigned char models_minilm_script[]; /* tools/minilm_to_gguf.py, NUL-terminated */

struct convert_progress {
    const struct models *models;
    int64_t size;
    char label[160];
};

static void on_convert(double fraction, void *ctx) {
    const struct convert_progress *p = ctx;
    models_progress(p->models, p->label, (int64_t)(fraction * (double)p->size), p->size);
}

static enum err prepare_requantise(const struct models *m, const struct model *model,
                                   const char *out, struct errinfo *ei) {
    char in[PATH_MAX];
    struct convert_progress p = {.models = m, .size = model->prepared_size};
    snprintf(p.label, sizeof p.label, "%s to %s", model->name, model->form);
    enum err e = path_incoming(in, m->dir, model, model->files[0].name, ei);
    return e ? e : engine_weights_convert(in, out, model->form, 0, on_convert, &p, ei);
}

static enum err prepare_minilm(const struct models *m, const struct model *model, const char *out,
                               struct errinfo *ei) {
    char python[PATH_MAX], folder[PATH_MAX], log[PATH_MAX], part[PATH_MAX];
    enum err e = path_incoming(folder, m->dir, model, NULL, ei);
    e = e ? e : path_incoming(log, m->dir, model, "convert.log", ei);
    e = e ? e : path_incoming(part, m->dir, model, "converted.gguf", ei);
    if (e)
        return e;
    child_python(python);
    char *argv[] = {python, "-c", (char *)models_minilm_script, folder, part, NULL};
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

enum err model_prepare(const struct models *m, const struct model *model, const char *out,
                       struct errinfo *ei) {
    switch (model->convert) {
    case CONVERT_REQUANTISE:
        return prepare_requantise(m, model, out, ei);
    case CONVERT_MINILM:
        return prepare_minilm(m, model, out, ei);
    }
    return err_set(ei, ERR_INTERNAL, NULL);
}

/* Refused before anything is fetched, rather than after 400 MB. */
static enum err check_room(const struct models *m, const struct model *model, struct errinfo *ei) {
    struct statvfs fs;
    int64_t need = model->prepared_size + ROOM_BESIDE - model_fetched_bytes(m->dir, model);
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

static enum err record_installed(const struct models *m, const struct model *model,
                                 const char *file, int64_t size, const char *hex,
                                 struct errinfo *ei) {
    char path[PATH_MAX], name[PATH_MAX];
    struct buf text;
    snprintf(name, sizeof name, "%s.json", model->name);
    enum err e = path_join(path, m->dir, name, ei);
    if (e)
        return e;
    buf_init(&text, 8192); /* names and hashes are plain ASCII: the catalogue was checked */
    buf_addf(&text,
             "{\n  \"name\": \"%s\",\n  \"form\": \"%s\",\n  \"file\": \"%s\",\n  \"size\": %lld,\n"
             "  \"sha256\": \"%s\",\n  \"published_sha256\": \"%s\"\n}\n",
             model->name, model->form, file, (long long)size, hex,
             model->files[model->n_files - 1].sha256);
    e = buf_err(&text) ? err_set(ei, buf_err(&text), NULL)
                       : file_write_text(path, buf_str(&text), ei);
    buf_deinit(&text);
    return e;
}

static enum err fetch_and_prepare(const struct models *m, const struct model *model,
                                  struct errinfo *ei) {
    char name[PATH_MAX], out[PATH_MAX], incoming[PATH_MAX], hex[65];
    snprintf(name, sizeof name, "%s.%s.gguf", model->name, model->form);
    enum err e = path_join(out, m->dir, name, ei);
    e = e ? e : path_incoming(incoming, m->dir, model, NULL, ei);
    e = e ? e : check_room(m, model, ei);
    e = e ? e : model_fetch(m, model, ei);
    if (e)
        return e;
    models_note(m, "%s: fetched and verified; preparing it as %s", model->name, model->form);
    e = model_prepare(m, model, out, ei);
    if (e)
        return e;
    e = check_prepared(m, model, out, hex, ei);
    e = e ? e : record_installed(m, model, name, file_bytes(out), hex, ei);
    if (e) {
        (void)unlink(out);
        return e;
    }
    folder_remove(incoming);
    models_note(m, "%s: ready", model->name);
    return ERR_OK;
}

/* One process changes the folder at a time. The lock goes with the descriptor, also when we die. */
static enum err lock_folder(const struct models *m, int *ret_fd, struct errinfo *ei) {
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
    enum err e = lock_folder(m, &lock, ei);
    if (e)
        return e;
    e = model_installed_get(m->dir, model->name, &installed, ei);
    if (e == ERR_CORRUPT)
        models_note(m, "%s is damaged and will be set up again", model->name);
    if (e == ERR_CORRUPT || e == ERR_NOT_FOUND)
        e = fetch_and_prepare(m, model, ei);
    close(lock);
    return e;
}
