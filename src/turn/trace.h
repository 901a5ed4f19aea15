/* Traces of turns: W3C Trace Context (https://www.w3.org/TR/trace-context/) is taken from the
 * request and passed to the model server, and a finished turn's spans are sent to an OTLP/HTTP
 * collector as JSON (https://opentelemetry.io/docs/specs/otlp/), when one is configured. Spans hold
 * identifiers, times and counts, never a word of what was said. */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "net/loop.h"

#define TRACE_PARENT_SIZE 56

struct trace { /* ids in lower-case hex; zero = this turn is not traced */
    char trace_id[33], parent_id[17], span_id[17];
    bool sampled;
    char header[TRACE_PARENT_SIZE + 16]; /* "traceparent: …" for the model server */
};
/* From the request's header. Without a valid one: begun here when `begin`, else not traced. */
void trace_init(struct trace *t, struct str traceparent, bool begin);

/* One loop's exporter; spans go out in batches, and are dropped (and counted) when the collector
 * does not keep up. */
struct tracer;
enum err tracer_new(struct loop *l, const char *endpoint, struct tracer **ret,
                    struct errinfo *ei) ERR_CHECK;
void tracer_free(struct tracer *t);

struct turn;
void tracer_add(struct tracer *t, const struct turn *turn); /* at its end */
