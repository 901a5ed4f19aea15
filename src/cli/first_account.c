/* See first_account.h. The store holds the token's hash only, so the link that was shown lives in a
 * file that nobody but its owner can read. */
#include "cli/first_account.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/auth.h"

#define MARK "#setup="

struct token {
    char kept[AUTH_SECRET_MAX]; /* in: of an earlier start, "" = none */
    struct auth_secret secret;  /* out */
    bool required;
};

static enum err ensure_token(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct token *t = arg;
    enum err e = auth_setup_required(tx, &t->required);
    if (e || !t->required)
        return e;
    struct errinfo unused;
    if (t->kept[0] && auth_setup_token_check(tx, str_from(t->kept), &unused) == ERR_OK) {
        memcpy(t->secret.text, t->kept, sizeof t->kept);
        return ERR_OK;
    }
    return auth_setup_token_make(tx, &t->secret, ei);
}

static void read_kept(const char *path, char out[AUTH_SECRET_MAX]) {
    char line[1024];
    FILE *f = fopen(path, "re");
    out[0] = 0;
    if (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        char *mark = strstr(line, MARK);
        if (mark && strlen(mark) - strlen(MARK) < AUTH_SECRET_MAX)
            memcpy(out, mark + strlen(MARK), strlen(mark) - strlen(MARK) + 1);
    }
    if (f)
        fclose(f);
}

static enum err write_link(const char *path, const char *link, struct errinfo *ei) {
    char temporary[4096];
    size_t n = strlen(link);
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.new", path) >= sizeof temporary)
        return err_set(ei, ERR_IO, "the path %s is too long", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool written = fd >= 0 && fchmod(fd, 0600) == 0 && write(fd, link, n) == (ssize_t)n &&
                   write(fd, "\n", 1) == 1;
    int saved = errno;
    if (fd >= 0)
        close(fd);
    if (written && rename(temporary, path) == 0)
        return ERR_OK;
    if (written)
        saved = errno;
    unlink(temporary);
    return err_set(ei, saved == ENOSPC ? ERR_DISK_FULL : ERR_IO, "%s cannot be written: %s", path,
                   strerror(saved));
}

enum err first_account_link(struct store *store, const struct config *c, const char *address,
                            char *out, size_t size, struct errinfo *ei) {
    struct token t = {0};
    read_kept(c->setup_link, t.kept);
    enum err e = store_write_wait(store, ensure_token, &t, ei);
    if (e)
        return e;
    out[0] = 0;
    if (!t.required) {
        unlink(c->setup_link);
        return ERR_OK;
    }
    if ((size_t)snprintf(out, size, "%s/" MARK "%s", address, t.secret.text) >= size)
        return err_set(ei, ERR_INTERNAL, "the address is too long");
    return write_link(c->setup_link, out, ei);
}
