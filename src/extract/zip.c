/* Zip archives by libarchive: only the members that a parser asks for are unpacked, under caps that
 * a bomb meets long before memory does. */
#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>

#include "extract/formats.h"

#define MEMBERS_MAX  20000
#define MEMBER_MAX   ((size_t)96 << 20)
#define UNPACKED_MAX ((size_t)192 << 20)

struct unpack {
    struct arena *arena;
    struct zip_member *members; /* owned while growing */
    size_t n, size, total;
};

static enum extract_fault fault_of(struct archive *in) {
    const char *text = archive_error_string(in);
    if (text && (strstr(text, "ncrypted") || strstr(text, "assphrase")))
        return EXTRACT_ENCRYPTED;
    return EXTRACT_DAMAGED;
}

static struct zip_member *new_member(struct unpack *u) {
    if (u->n == u->size) {
        size_t size = u->size ? 2 * u->size : 16;
        struct zip_member *p = realloc(u->members, size * sizeof *p);
        if (!p)
            return NULL;
        u->members = p;
        u->size = size;
    }
    return &u->members[u->n++];
}

static enum extract_fault read_member(struct unpack *u, struct archive *in, struct str name) {
    struct buf b;
    char piece[65536];
    la_ssize_t n;
    buf_init(&b, MEMBER_MAX);
    while ((n = archive_read_data(in, piece, sizeof piece)) > 0 && !b.err &&
           u->total + b.n <= UNPACKED_MAX)
        buf_add(&b, piece, (size_t)n);
    enum extract_fault f = n < 0 ? fault_of(in) : EXTRACT_OK;
    if (!f && (b.err == ERR_TOO_LARGE || u->total + b.n > UNPACKED_MAX))
        f = EXTRACT_BOMB;
    struct zip_member *m = f || b.err ? NULL : new_member(u);
    if (!f && m) {
        m->name = arena_str(u->arena, name);
        m->bytes = arena_str(u->arena, buf_str(&b));
        u->total += b.n;
    }
    if (!f && (!m || !m->name.p || !m->bytes.p))
        f = EXTRACT_MEMORY;
    buf_deinit(&b);
    return f;
}

static enum extract_fault read_members(struct unpack *u, struct archive *in,
                                       bool (*wanted)(struct str name)) {
    struct archive_entry *entry;
    int rc;
    for (int i = 0; (rc = archive_read_next_header(in, &entry)) == ARCHIVE_OK || rc == ARCHIVE_WARN;
         i++) {
        const char *path = archive_entry_pathname(entry);
        struct str name = str_from(path ? path : "");
        if (i == MEMBERS_MAX)
            return EXTRACT_BOMB;
        if (archive_entry_is_encrypted(entry))
            return EXTRACT_ENCRYPTED;
        if (!utf8_valid(name) || !wanted(name))
            continue;
        enum extract_fault f = read_member(u, in, name);
        if (f)
            return f;
    }
    return rc == ARCHIVE_EOF ? EXTRACT_OK : fault_of(in);
}

enum extract_fault zip_read(struct str bytes, bool (*wanted)(struct str name), struct arena *a,
                            struct zip *ret) {
    struct unpack u = {.arena = a};
    struct archive *in = archive_read_new();
    if (!in)
        return EXTRACT_MEMORY;
    archive_read_support_format_zip_seekable(in);
    enum extract_fault f = archive_read_open_memory(in, bytes.p, bytes.n) == ARCHIVE_OK
                               ? read_members(&u, in, wanted)
                               : fault_of(in);
    archive_read_free(in);
    struct zip_member *members = f ? NULL : arena_array(a, u.n ? u.n : 1, sizeof *members);
    if (!f && !members)
        f = EXTRACT_MEMORY;
    if (!f) {
        if (u.n)
            memcpy(members, u.members, u.n * sizeof *members);
        ret->members = members;
        ret->n = u.n;
    }
    free(u.members);
    return f;
}

struct str zip_find(const struct zip *z, struct str name) {
    for (size_t i = 0; i < z->n; i++)
        if (str_eq(z->members[i].name, name))
            return z->members[i].bytes.n ? z->members[i].bytes : STR("");
    return STR_NULL;
}

int zip_number(struct str name, const char *prefix, const char *suffix) {
    struct str before = str_from(prefix), behind = str_from(suffix);
    uint64_t n;
    if (!str_starts(name, before) || !str_ends(name, behind) || name.n < before.n + behind.n)
        return 0;
    if (!str_to_u64(str_sub(name, before.n, name.n - before.n - behind.n), &n) || n > 1000000)
        return 0;
    return (int)n;
}

void zip_sort_by_number(struct zip *z, const char *prefix, const char *suffix) {
    for (size_t i = 1; i < z->n; i++) { /* mostly in order already */
        struct zip_member m = z->members[i];
        int number = zip_number(m.name, prefix, suffix);
        size_t k = i;
        for (; k > 0 && zip_number(z->members[k - 1].name, prefix, suffix) > number; k--)
            z->members[k] = z->members[k - 1];
        z->members[k] = m;
    }
}
