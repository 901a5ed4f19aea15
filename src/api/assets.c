/* Finds the page's files. See assets.h for how they are served. */
#include "api/assets.h"

static int path_compare(struct str a, struct str b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static const struct asset *table_find(struct str path) {
    size_t low = 0, high = asset_table_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = path_compare(path, asset_table[mid].path);
        if (c == 0) {
            return &asset_table[mid];
        }
        if (c < 0) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return NULL;
}

/* Paths where a wrong name must stay an error: a program that misspells an API route, or a browser
 * that asks for a script of an older build, must not get a page of HTML. */
static bool never_the_page(struct str path) {
    static const struct str prefixes[] = {{"/api/", 5}, {"/v1/", 4}, {"/assets/", 8}};
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (str_starts(path, prefixes[i])) {
            return true;
        }
    }
    if (str_eq(path, STR("/api")) || str_eq(path, STR("/v1"))) {
        return true;
    }
    struct str name = str_sub(path, 1, path.n);
    return str_find(name, STR("/")) == SIZE_MAX && str_find(name, STR(".")) != SIZE_MAX;
}

const struct asset *asset_find(struct str path) {
    const struct asset *a = table_find(path);
    if (a) {
        return a;
    }
    return never_the_page(path) ? NULL : table_find(STR("/index.html"));
}

bool asset_etag_matches(const struct asset *a, struct str if_none_match) {
    struct str etag = str_from(a->etag);
    while (if_none_match.n > 0) {
        struct str item = str_trim(str_cut(&if_none_match, ','));
        if (str_starts(item, STR("W/"))) {
            item = str_sub(item, 2, item.n);
        }
        if (str_eq(item, etag) || str_eq(item, STR("*"))) {
            return true;
        }
    }
    return false;
}
