/* parley search "…": what a person would be given for a question, and why: each passage with its
 * scores. It reads the data directory itself; the question's vector comes from the running engine
 * or the configured upstream, and without them the words alone search. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/crypto.h"
#include "cli/cli.h"
#include "cli/desk.h"
#include "cli/plain.h"
#include "cli/upstreams.h"
#include "retrieval/retrieval.h"

#define TEXT_SHOWN 240 /* bytes of a passage */

struct search {
    struct desk desk;
    struct loop *loop;
    struct upstream *upstream;
    struct upstream_client *client;
    struct retrieval *retrieval;
    struct retrieval_scope scope;
    struct uuid role;
    const struct args *args;
    enum err err;
    struct errinfo ei;
};

static void print_hit(const struct retrieval_hit *h) {
    struct str text = {h->text.p,
                       utf8_cut(h->text, h->text.n < TEXT_SHOWN ? h->text.n : TEXT_SHOWN)};
    struct str title = h->title.n ? h->title : h->source_name;
    printf("%2d. ", h->rank);
    plain_print(title, false);
    if (h->heading.n && !str_eq(h->heading, title)) {
        fputs(", ", stdout);
        plain_print(h->heading, false);
    }
    if (h->page_from)
        printf(", p. %d", h->page_from);
    if (h->page_to > h->page_from)
        printf("-%d", h->page_to);
    printf("\n    score %.4f = fused %.4f × weight %.2f;  words %.3f", h->score, h->fused,
           h->weight, h->lexical);
    if (h->lexical_rank)
        printf(" (no. %d)", h->lexical_rank);
    printf(";  similarity %.3f", h->vector);
    if (h->vector_rank)
        printf(" (no. %d)", h->vector_rank);
    printf("\n    ");
    plain_print(text, false);
    printf("%s\n\n", text.n < h->text.n ? " …" : "");
}

static void found(void *ctx, const struct retrieval_result *r) {
    struct search *s = ctx;
    s->err = r->err;
    if (r->err && r->ei)
        s->ei = *r->ei;
    for (size_t i = 0; i < r->n; i++)
        print_hit(&r->hits[i]);
    const struct retrieval_trace *t = &r->trace;
    if (!r->err && !r->n)
        printf("Nothing was found%s%s.\n\n", t->why ? ": " : "", t->why ? t->why : "");
    if (!r->err)
        printf("%lld candidate%s; words %s, vectors %s; %.1f ms (question embedded in %.1f, words "
               "%.1f, vectors %.1f, fused in %.1f)%s\n",
               (long long)t->candidates, t->candidates == 1 ? "" : "s",
               t->lexical_done ? "searched" : "left out",
               t->vector_done ? (t->exact ? "compared all" : "searched") : "left out",
               (double)t->total_us / 1e3, (double)t->embed_us / 1e3, (double)t->lexical_us / 1e3,
               (double)t->vector_us / 1e3, (double)t->fuse_us / 1e3,
               r->n && !r->relevant ? "; a chat would be given none of these: too far off" : "");
    loop_stop(s->loop);
}

static enum err scope_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct search *s = arg;
    struct arena *a = s->desk.arena;
    struct user u;
    struct role role;
    const char *name = args_get(s->args, "role");
    enum err e = desk_find_user(tx, a, args_get(s->args, "user"), &u, ei);
    if (!e && name) {
        e = role_find(tx, str_from(name), a, &role);
        if (e)
            return err_set(ei, e, "there is no role \"%s\"", name);
        s->role = role.role_id;
    }
    if (!e)
        e = collection_scope(tx, &u.user_id, &s->role, s->scope.collections, &s->scope.n);
    return e;
}

static enum err open_parts(struct search *s, const struct config *c) {
    enum err e = net_init(&s->ei);
    if (!e)
        e = crypto_init();
    if (!e)
        e = loop_new(&s->loop, &s->ei);
    if (!e)
        e = upstreams_open(c, &s->upstream, &s->ei);
    if (!e)
        e = upstream_client_new(s->upstream, s->loop, &s->client, &s->ei);
    struct retrieval_options o = {
        .store = s->desk.store, .upstream = s->upstream, .budget_ms = 3000, .no_indexing = true};
    if (!e)
        e = retrieval_new(&o, &s->retrieval, &s->ei);
    if (!e)
        e = retrieval_start(s->retrieval, s->loop, s->client, &s->ei);
    return e;
}

static void wait_for_index(struct search *s) {
    struct retrieval_state state;
    for (retrieval_get_state(s->retrieval, &state); state.loading;
         retrieval_get_state(s->retrieval, &state))
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static enum err run(struct search *s, const struct args *a) {
    uint64_t k = 8;
    struct retrieval_call *call;
    const char *text = args_get(a, "limit");
    const struct str tag = str_from(args_get(a, "tag"));
    if (text && (!str_to_u64(str_from(text), &k) || k < 1 || k > 200))
        return err_set(&s->ei, ERR_INVALID, "--limit is 1 to 200");
    struct retrieval_request q = {.query = str_from(a->operands[0]),
                                  .scope = &s->scope,
                                  .role_id = s->role,
                                  .need = NEED_ALWAYS,
                                  .k = (int)k,
                                  .reciprocal = args_has(a, "rrf"),
                                  .filter.source = str_from(args_get(a, "source")),
                                  .filter.type = str_from(args_get(a, "type")),
                                  .filter.tags = &tag,
                                  .filter.n_tags = tag.n > 0};
    if ((args_has(a, "from") &&
         !retrieval_day_read(str_from(args_get(a, "from")), &q.filter.from)) ||
        (args_has(a, "to") && !retrieval_day_read(str_from(args_get(a, "to")), &q.filter.to)))
        return err_set(&s->ei, ERR_INVALID, "--from and --to are days, 2026-03-01");
    q.filter.to += q.filter.to ? RETRIEVAL_DAY_MS - 1 : 0;
    enum err e = store_read_wait(s->desk.store, scope_fn, s, &s->ei);
    if (e)
        return e;
    wait_for_index(s);
    e = retrieval_search(s->retrieval, s->loop, s->client, &q, found, s, &call, &s->ei);
    if (e)
        return e;
    loop_run(s->loop);
    return s->err;
}

int cmd_search(const struct args *a) {
    struct search *s = calloc(1, sizeof *s);
    if (!s)
        return cli_fail(ERR_NOMEM, NULL);
    s->args = a;
    int status = desk_open(&s->desk, a, DESK_EXISTING);
    if (!status) {
        enum err e = open_parts(s, s->desk.config);
        if (!e)
            e = run(s, a);
        if (s->retrieval)
            retrieval_stop(s->retrieval);
        if (e)
            status = cli_fail(e, &s->ei);
    }
    upstream_client_free(s->client);
    retrieval_free(s->retrieval);
    desk_close(&s->desk);
    upstream_free(s->upstream);
    if (s->loop)
        loop_free(s->loop);
    free(s);
    return status;
}
