/* See trace.h. A turn is a span of kind SERVER with the children "prepare" (until the model was
 * asked) and "model" (until it had said all), and the event "first_words". */
#include "turn/trace.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/metrics.h"
#include "net/http_client.h"
#include "turn/turn_internal.h"

#define BATCH_SPANS 96
#define BATCH_MS    2000
#define BATCH_MAX   ((size_t)1 << 20)
#define POST_MS     5000
#define KIND_INNER  1
#define KIND_SERVER 2
#define KIND_CLIENT 3

struct tracer {
    struct loop *loop;
    struct http_client *http;
    struct http_call *call; /* one batch is under way at most */
    struct timer *timer;
    struct buf spans; /* JSON objects, commas between them */
    int n;
    char *endpoint;
};

/* ---- the context ---- */

static void random_hex(char *out, size_t bytes) {
    unsigned char raw[16];
    crypto_random_name(raw, bytes);
    raw[0] |= raw[0] == 0; /* all zeros mean "none" */
    for (size_t i = 0; i < bytes; i++)
        snprintf(out + 2 * i, 3, "%02x", raw[i]);
}

static bool take_hex(struct str s, char *out) {
    bool any = false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        any = any || c != '0';
        out[i] = c;
    }
    out[s.n] = 0;
    return any;
}

static bool read_parent(struct trace *t, struct str s) {
    struct str version = str_cut(&s, '-'), trace = str_cut(&s, '-'), parent = str_cut(&s, '-');
    char text[3];
    if (version.n != 2 || str_eqz(version, "ff") || trace.n != 32 || parent.n != 16 || s.n < 2)
        return false;
    bool flags = take_hex(str_sub(s, 0, 2), text) || str_eqz(str_sub(s, 0, 2), "00");
    if (!flags || !take_hex(trace, t->trace_id) || !take_hex(parent, t->parent_id))
        return false;
    t->sampled = strtoul(text, NULL, 16) & 1;
    return true;
}

void trace_init(struct trace *t, struct str traceparent, bool begin) {
    *t = (struct trace){0};
    bool given = traceparent.n && read_parent(t, traceparent);
    if (!given && !begin) {
        *t = (struct trace){0};
        return;
    }
    if (!given) {
        random_hex(t->trace_id, 16);
        t->parent_id[0] = 0;
        t->sampled = true;
    }
    random_hex(t->span_id, 8);
    snprintf(t->header, sizeof t->header, "traceparent: 00-%s-%s-%02x", t->trace_id, t->span_id,
             t->sampled);
}

/* ---- sending ---- */

static void on_posted(void *ctx, enum err e, int status, const struct errinfo *ei) {
    struct tracer *t = ctx;
    (void)ei;
    t->call = NULL;
    if (e || status < 200 || status > 299)
        metric_add(M_TRACES_LOST, 1);
}

static void post(void *arg) {
    static const struct http_call_callbacks callbacks = {.on_done = on_posted};
    struct tracer *t = arg;
    const char *headers[] = {"Content-Type: application/json", NULL};
    if (!t->n || t->call)
        return;
    struct buf b;
    buf_init(&b, 2 * BATCH_MAX);
    buf_addz(&b, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\","
                 "\"value\":{\"stringValue\":\"parley\"}},{\"key\":\"service.version\",\"value\":"
                 "{\"stringValue\":\"" PARLEY_VERSION "\"}}]},\"scopeSpans\":[{\"scope\":{\"name\":"
                 "\"parley.turn\"},\"spans\":[");
    buf_adds(&b, buf_str(&t->spans));
    buf_addz(&b, "]}]}]}");
    struct http_call_spec spec = {.method = "POST",
                                  .url = t->endpoint,
                                  .headers = headers,
                                  .body = buf_str(&b),
                                  .total_timeout_ms = POST_MS,
                                  .max_response_bytes = 64 << 10};
    if (buf_err(&b) || http_call_start(t->http, &spec, &callbacks, t, &t->call, NULL))
        metric_add(M_TRACES_LOST, 1);
    buf_deinit(&b);
    buf_clear(&t->spans);
    t->n = 0;
}

enum err tracer_new(struct loop *l, const char *endpoint, struct tracer **ret, struct errinfo *ei) {
    struct tracer *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(ei, ERR_NOMEM, NULL);
    t->loop = l;
    buf_init(&t->spans, BATCH_MAX);
    t->endpoint = strdup(endpoint);
    t->timer = timer_new(l, post, t);
    enum err e =
        t->endpoint && t->timer ? http_client_new(l, &t->http, ei) : err_set(ei, ERR_NOMEM, NULL);
    if (e) {
        tracer_free(t);
        return e;
    }
    timer_start(t->timer, BATCH_MS, true);
    *ret = t;
    return ERR_OK;
}

void tracer_free(struct tracer *t) {
    if (!t)
        return;
    timer_free(t->timer);
    if (t->http)
        http_client_free(t->http); /* ends what is under way */
    buf_deinit(&t->spans);
    free(t->endpoint);
    free(t);
}

/* ---- spans ---- */

struct span {
    const char *name, *id, *parent;
    int kind;
    int64_t from_ns, to_ns; /* monotonic; 0 = not reached */
};

/* Monotonic time as nanoseconds since 1970. */
static long long wall_ns(int64_t mono_ns) {
    return (long long)clock_wall_ms() * 1000000 - (clock_mono_ns() - mono_ns);
}

static void open_span(struct tracer *t, const struct trace *trace, const struct span *s) {
    struct buf *b = &t->spans;
    if (t->n++)
        buf_addc(b, ',');
    buf_addf(b, "{\"traceId\":\"%s\",\"spanId\":\"%s\"", trace->trace_id, s->id);
    if (s->parent[0])
        buf_addf(b, ",\"parentSpanId\":\"%s\"", s->parent);
    buf_addf(b,
             ",\"name\":\"%s\",\"kind\":%d,\"startTimeUnixNano\":\"%lld\","
             "\"endTimeUnixNano\":\"%lld\"",
             s->name, s->kind, wall_ns(s->from_ns), wall_ns(s->to_ns));
}

static void add_child(struct tracer *t, const struct trace *trace, struct span s) {
    char id[17];
    if (!s.from_ns || !s.to_ns)
        return;
    random_hex(id, 8);
    s.id = id;
    s.parent = trace->span_id;
    open_span(t, trace, &s);
    buf_addc(&t->spans, '}');
}

static void add_text(struct buf *b, const char *sep, const char *key, struct str value) {
    buf_addf(b, "%s{\"key\":\"%s\",\"value\":{\"stringValue\":\"", sep, key);
    buf_add_json(b, value);
    buf_addz(b, "\"}}");
}

static void add_int(struct buf *b, const char *key, int64_t value) {
    if (value >= 0)
        buf_addf(b, ",{\"key\":\"%s\",\"value\":{\"intValue\":\"%lld\"}}", key, (long long)value);
}

static void add_turn(struct tracer *t, const struct turn *turn, int64_t now) {
    const struct message *m = &turn->answer;
    struct buf *b = &t->spans;
    struct span s = {"turn",      turn->trace.span_id, turn->trace.parent_id,
                     KIND_SERVER, turn->in.arrived_ns, now};
    open_span(t, &turn->trace, &s);
    add_text(b, ",\"attributes\":[", "parley.message_id", uuid_str(&m->message_id));
    add_text(b, ",", "parley.status", str_from(message_status_name(m->status)));
    add_text(b, ",", "gen_ai.response.model", m->model);
    add_int(b, "gen_ai.usage.input_tokens", m->prompt_tokens);
    add_int(b, "gen_ai.usage.output_tokens", m->completion_tokens);
    add_int(b, "parley.continued", turn->breaks);
    buf_addc(b, ']');
    if (m->ttft_ms >= 0)
        buf_addf(b, ",\"events\":[{\"name\":\"first_words\",\"timeUnixNano\":\"%lld\"}]",
                 wall_ns(turn->in.arrived_ns + m->ttft_ms * MS));
    if (turn->failure.code)
        buf_addf(b, ",\"status\":{\"code\":2,\"message\":\"%s\"}", err_code(turn->failure.code));
    buf_addc(b, '}');
}

void tracer_add(struct tracer *t, const struct turn *turn) {
    int64_t now = clock_mono_ns();
    if (!t || !turn->trace.sampled)
        return;
    if (buf_err(&t->spans) || t->n >= 4 * BATCH_SPANS) { /* the collector does not keep up */
        metric_add(M_TRACES_LOST, 1);
        if (buf_err(&t->spans)) {
            buf_clear(&t->spans);
            t->n = 0;
        }
        return;
    }
    add_turn(t, turn, now);
    add_child(t, &turn->trace,
              (struct span){.name = "prepare",
                            .kind = KIND_INNER,
                            .from_ns = turn->in.arrived_ns,
                            .to_ns = turn->asked_ns});
    add_child(t, &turn->trace,
              (struct span){.name = "model",
                            .kind = KIND_CLIENT,
                            .from_ns = turn->asked_ns,
                            .to_ns = turn->told_ns});
    if (t->n >= BATCH_SPANS)
        post(t);
}
