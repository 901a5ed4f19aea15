/* The log. A line is built on the heap and leaves with one write(), so that lines of threads and
 * processes on one pipe do not mix. A line that cannot be built or written is lost: logging never
 * fails its caller. */
#include "base/log.h"

#include <math.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/crash.h"

#define LINE_MAX_BYTES  ((size_t)32768)
#define VALUE_MAX_BYTES ((size_t)4096)

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char *_Atomic proc_name = "parley";
static atomic_int min_level = LOG_INFO;
static atomic_bool text_mode;

void log_init(const char *proc, enum log_level min) {
    atomic_store(&proc_name, proc);
    atomic_store(&min_level, (int)min);
}

void log_set_text(bool text) {
    atomic_store(&text_mode, text);
}

enum log_level log_level(void) {
    return (enum log_level)atomic_load(&min_level);
}

/* Values come from anywhere (paths, a peer's words): what is no UTF-8 becomes '?', long ones are
 * cut. */
static void add_text(struct buf *b, struct str s, void (*add)(struct buf *, struct str)) {
    bool cut = s.n > VALUE_MAX_BYTES;
    if (cut)
        s.n = utf8_cut(s, VALUE_MAX_BYTES);
    if (utf8_valid(s)) {
        add(b, s);
    } else {
        for (size_t i = 0; i < s.n; i++)
            add(b, (unsigned char)s.p[i] < 0x80 ? str_sub(s, i, 1) : STR("?"));
    }
    if (cut)
        buf_addz(b, "…");
}

/* Text for people stays one line and cannot steer a terminal. */
static void add_plain(struct buf *b, struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        buf_addc(b, c < 0x20 || c == 0x7f ? ' ' : (char)c);
    }
}

static void add_number(struct buf *b, const struct log_field *f, const char *nan) {
    if (f->kind == LOG_F_INT)
        buf_addf(b, "%lld", (long long)f->i);
    else if (isfinite(f->d))
        buf_addf(b, "%.6g", f->d);
    else
        buf_addz(b, nan);
}

static void build_json(struct buf *b, enum log_level level, const char *event,
                       const struct log_field *fields) {
    char ts[25];
    clock_format(clock_wall_ms(), ts);
    buf_addf(b, "{\"ts\":\"%s\",\"level\":\"%s\",\"event\":\"", ts, level_names[level]);
    add_text(b, str_from(event), buf_add_json);
    buf_addf(b, "\",\"pid\":%d,\"proc\":\"", (int)getpid());
    add_text(b, str_from(atomic_load(&proc_name)), buf_add_json);
    buf_addc(b, '"');
    for (const struct log_field *f = fields; f->kind != LOG_F_END; f++) {
        buf_addf(b, ",\"%s\":", f->key);
        if (f->kind == LOG_F_STR && f->s.p) {
            buf_addc(b, '"');
            add_text(b, f->s, buf_add_json);
            buf_addc(b, '"');
        } else if (f->kind == LOG_F_STR) {
            buf_addz(b, "null");
        } else {
            add_number(b, f, "null");
        }
    }
    buf_addz(b, "}\n");
}

static void build_text(struct buf *b, enum log_level level, const char *event,
                       const struct log_field *fields) {
    if (level != LOG_INFO)
        buf_addf(b, "%s: ", level_names[level]);
    add_text(b, str_from(event), add_plain);
    for (const struct log_field *f = fields; f->kind != LOG_F_END; f++) {
        buf_addf(b, " %s=", f->key);
        if (f->kind == LOG_F_STR)
            add_text(b, f->s, add_plain);
        else
            add_number(b, f, "nan");
    }
    buf_addc(b, '\n');
}

/* For a crash report: the event's name and the first identifier that stands beside it. */
static void note(const char *event, const struct log_field *fields) {
    struct str id = STR("");
    for (const struct log_field *f = fields; f->kind != LOG_F_END && !id.n; f++)
        if (f->kind == LOG_F_STR && f->s.p && str_ends(str_from(f->key), STR("_id")))
            id = f->s;
    crash_note(event, id.p, id.n);
}

void log_event_fields(enum log_level level, const char *event, const struct log_field *fields) {
    if ((int)level < atomic_load_explicit(&min_level, memory_order_relaxed))
        return;
    note(event, fields);
    struct buf b;
    buf_init(&b, LINE_MAX_BYTES);
    if (atomic_load_explicit(&text_mode, memory_order_relaxed))
        build_text(&b, level, event, fields);
    else
        build_json(&b, level, event, fields);
    if (!buf_err(&b)) {
        ssize_t n = write(STDERR_FILENO, b.p, b.n);
        (void)n; /* there is no place left to say so */
    }
    buf_deinit(&b);
}
