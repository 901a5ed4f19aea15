/* Answers of search services: hits are clean, short and of the web, or there is an error. */
#include <stdint.h>
#include <stdlib.h>

#include "retrieval/web_search.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str json = {(const char *)data, size};
    struct arena *a = arena_new((size_t)64 << 20);
    struct web_map m;
    struct web_hit *h;
    size_t n;
    struct errinfo ei;
    if (!a)
        return 0;
    web_map_read(json, &m); /* as settings, too */
    web_map_read(STR("{}"), &m);
    if (!web_hits_read(json, &m, STR("s"), a, &h, &n, &ei))
        for (size_t i = 0; i < n; i++)
            if (!utf8_valid(h[i].text) || !utf8_valid(h[i].title) || h[i].text.n > 2000 ||
                (h[i].url.n && !str_starts(h[i].url, STR("http"))))
                abort();
    (void)web_url(STR("http://s/?q={query}"), json, a);
    arena_free(a);
    return 0;
}
