/* Sources that are asked when there is a question: search services that answer JSON over HTTP, as
 * SearXNG does (`/search?q={query}&format=json`). What they find is not stored; it is kept for some
 * time for the same words.
 *
 * A source of kind "search" (store/source.h) has {query} in its location and says in its settings
 * where in the answer things stand; without them it is SearXNG's form:
 *
 *   {"results": "results", "title": "title", "url": "url", "text": "content",
 *    "max": 5, "timeout_ms": 1500, "cache_minutes": 60}
 *
 * Names may be paths, "data.items". Requests go out on threads of their own, all sources at once,
 * and reach only the open internet unless the source may reach further (net/fetch.h). */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "net/loop.h"
#include "store/source.h"

struct web_search;
struct web_search_call;

struct web_hit {
    struct str source_name;      /* of the source */
    struct str title, url, text; /* text: plain, one line, at most 2,000 bytes */
    int rank;                    /* at its source, from 1 */
};

struct web_search_result {
    const struct web_hit *hits; /* borrowed for the call; sources take turns */
    size_t n;
    int asked, failed; /* sources; those that were late count as failed */
    int from_cache;
    struct str first_error; /* for people; "" = none */
};

enum err web_search_new(struct store *s, struct web_search **ret, struct errinfo *ei) ERR_CHECK;
void web_search_free(struct web_search *w); /* waits for what is out, seconds at most */
/* The sources were changed: they are read again. Any thread. */
void web_search_changed(struct web_search *w);
/* Whether any source is there at all; cheap. */
bool web_search_has_sources(struct web_search *w);

struct web_search_request { /* borrowed for the call; copied */
    struct str query;
    struct uuid user_id; /* whose own sources are asked, and the shared ones */
    struct uuid only;    /* this source alone, if set */
    int budget_ms;       /* 0 = each source's own time-out */
};
/* done runs on the loop, once, never inside the call; with nothing when there is no source. */
enum err web_search_run(struct web_search *w, struct loop *l, const struct web_search_request *q,
                        void (*done)(void *ctx, const struct web_search_result *r), void *ctx,
                        struct web_search_call **ret, struct errinfo *ei) ERR_CHECK;
void web_search_cancel(struct web_search_call *c); /* on its loop; done is not called */

/* ---- what the parts do, for tests ---- */
struct web_map {
    char results[100], title[100], url[100], text[100];
    int max, timeout_ms, cache_minutes;
};
/* From a source's settings; what is missing or unfit is as above. */
void web_map_read(struct str settings, struct web_map *ret);
/* The hits of an answer, in the arena. ERR_JSON, or ERR_INVALID when there is no list where the map
 * says. */
enum err web_hits_read(struct str json, const struct web_map *m, struct str source_name,
                       struct arena *a, struct web_hit **ret, size_t *ret_n,
                       struct errinfo *ei) ERR_CHECK;
/* The location with the words of the query in place of {query}, percent-encoded; NULL when it is
 * too long. In the arena. */
char *web_url(struct str location, struct str query, struct arena *a);
