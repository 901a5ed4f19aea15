#include "cli/chat_attach.h"

#include <stdio.h>

#define FILE_MAX ((size_t)256 << 20) /* the server's own limit is mostly lower */
#define WAIT_MS  200

static enum err read_whole(const char *path, struct buf *ret, struct errinfo *ei) {
    FILE *f = fopen(path, "re");
    char piece[65536];
    size_t n;
    if (!f)
        return err_set(ei, ERR_INVALID, "%s cannot be read", path);
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        buf_add(ret, piece, n);
    bool failed = ferror(f) != 0;
    fclose(f);
    if (failed)
        return err_set(ei, ERR_INVALID, "%s cannot be read", path);
    return buf_err(ret) ? err_set(ei, ERR_TOO_LARGE, "%s is too large", path) : ERR_OK;
}

/* "/api/v1/documents?source_name=…" with the file's name, percent-encoded. */
static enum err address(const char *path, struct buf *ret) {
    const char *slash = strrchr(path, '/');
    buf_addz(ret, "/api/v1/documents?source_name=");
    for (const char *p = slash ? slash + 1 : path; *p; p++) {
        unsigned char u = (unsigned char)*p;
        bool plain = (u >= 'a' && u <= 'z') || (u >= 'A' && u <= 'Z') || (u >= '0' && u <= '9') ||
                     u == '.' || u == '-' || u == '_';
        if (plain)
            buf_addc(ret, *p);
        else
            buf_addf(ret, "%%%02X", u);
    }
    buf_addc(ret, 0);
    return buf_err(ret);
}

/* *ret_over: it can be asked about. An error: it never will. */
static enum err look(const json_val *document, bool *ret_over, struct errinfo *ei) {
    struct str status = json_get_str(document, "status"), error = json_get_str(document, "error");
    *ret_over = str_eqz(status, "indexed") && !json_get_bool(document, "updating", false);
    if (str_eqz(status, "failed"))
        return err_set(ei, ERR_INVALID, "%.*s",
                       STR_ARG(error.n ? error : STR("it could not be read")));
    return ERR_OK;
}

static enum err wait_until_read(struct chat_client *c, const struct uuid *id, struct errinfo *ei) {
    char path[128];
    bool over = false;
    enum err e = ERR_OK;
    snprintf(path, sizeof path, "/api/v1/documents/%s", id->s);
    while (!e && !over) {
        yyjson_doc *doc = NULL;
        if ((e = chat_client_call(c, "GET", path, STR_NULL, &doc, ei)))
            break;
        e = look(yyjson_doc_get_root(doc), &over, ei);
        yyjson_doc_free(doc);
        if (e || over)
            break;
        chat_client_wait(c, WAIT_MS);
        if (chat_client_interrupts(c) > 0)
            e = err_set(ei, ERR_CANCELLED, "it is read in the background");
    }
    return e;
}

enum err chat_attach(struct chat_client *c, const char *path, struct chat_given *g,
                     struct errinfo *ei) {
    struct buf bytes, url;
    struct uuid id;
    yyjson_doc *doc = NULL;
    if (g->n == CHAT_GIVEN_MAX)
        return err_set(ei, ERR_INVALID, "a message takes %d files", CHAT_GIVEN_MAX);
    buf_init(&bytes, FILE_MAX);
    buf_init(&url, 2000);
    enum err e = read_whole(path, &bytes, ei);
    if (!e && (e = address(path, &url)))
        err_set(ei, e, "the file's name is too long");
    if (!e)
        e = chat_client_upload(c, url.p, bytes.n ? buf_str(&bytes) : STR(""), &doc, ei);
    if (!e && !uuid_parse(json_get_str(yyjson_doc_get_root(doc), "doc_id"), &id))
        e = err_set(ei, ERR_UPSTREAM, "the server does not answer as Parley does");
    yyjson_doc_free(doc);
    buf_deinit(&url);
    buf_deinit(&bytes);
    if (!e)
        e = wait_until_read(c, &id, ei);
    if (!e)
        g->docs[g->n++] = id;
    return e;
}
