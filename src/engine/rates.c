#include "engine/rates.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "engine/q8_panels.h"

#define FILE_MAX    4096
#define TRIES       5          /* steps of each kind */
#define SEQUENCES   4          /* in a step of several answers */
#define PROMPT      48         /* tokens of a step with a prompt */
#define TIME_NS     1500000000 /* after that each is tried once only */
#define MUCH_FASTER 0.9

/* ---- the file ---- */

static void machine(char *out, size_t size, int threads, int64_t weights_bytes) {
    const struct q8_kernel *kernel = q8_kernel_get(0);
    char line[512], cpu[256] = "";
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && !cpu[0] && fgets(line, sizeof(line), f))
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':'))
            snprintf(cpu, sizeof(cpu), "%.200s", strchr(line, ':') + 2);
    if (f)
        fclose(f);
    cpu[strcspn(cpu, "\n")] = 0;
    snprintf(out, size, "%s, %d threads, %lld bytes, %s", cpu, threads, (long long)weights_bytes,
             kernel ? kernel->name : "rows");
}

bool rates_read(const char *path, int threads, int64_t weights_bytes, struct rates *ret) {
    char text[FILE_MAX], here[512];
    yyjson_doc *doc;
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    size_t n = fread(text, 1, sizeof(text), f);
    fclose(f);
    if (json_parse((struct str){text, n}, &doc, NULL))
        return false;
    const json_val *root = yyjson_doc_get_root(doc);
    const struct rates r = {
        .base_ns = json_get_num(root, "base_us", 0) * 1e3,
        .answer_ns = json_get_num(root, "answer_us", 0) * 1e3,
        .prompt_ns = json_get_num(root, "prompt_us", 0) * 1e3,
        .threads = (int)json_get_int(root, "threads", 0),
    };
    machine(here, sizeof(here), threads, weights_bytes);
    bool good = str_eqz(json_get_str(root, "machine"), here) && r.base_ns > 0 && r.answer_ns > 0 &&
                r.prompt_ns > 0 && r.base_ns < 1e12 && r.answer_ns < 1e12 && r.prompt_ns < 1e12 &&
                r.threads >= 1 && r.threads <= threads;
    yyjson_doc_free(doc);
    if (good)
        *ret = r;
    return good;
}

enum err rates_write(const char *path, int threads, int64_t weights_bytes, const struct rates *r) {
    char here[512], part[4096];
    struct buf b;
    if ((size_t)snprintf(part, sizeof(part), "%s.part", path) >= sizeof(part))
        return ERR_INVALID;
    machine(here, sizeof(here), threads, weights_bytes);
    buf_init(&b, FILE_MAX);
    buf_addz(&b, "{\"machine\":\"");
    buf_add_json(&b, str_from(here));
    buf_addf(&b, "\",\"threads\":%d,\"base_us\":%.1f,\"answer_us\":%.1f,\"prompt_us\":%.1f}\n",
             r->threads, r->base_ns / 1e3, r->answer_ns / 1e3, r->prompt_ns / 1e3);
    FILE *f = buf_err(&b) ? NULL : fopen(part, "we");
    bool good = f && fwrite(b.p, 1, b.n, f) == b.n;
    if (f && fclose(f))
        good = false;
    buf_deinit(&b);
    if (good && rename(part, path) == 0)
        return ERR_OK;
    unlink(part);
    return ERR_IO;
}

/* ---- measuring ---- */

/* One step of so many answers and one prompt, on empty sequences; its time in *ret_ns. */
static enum err one_step(struct model *m, int answers, int prompt, double *ret_ns,
                         struct errinfo *ei) {
    struct model_item items[SEQUENCES + PROMPT];
    int n = 0;
    for (int i = 0; i < answers; i++)
        items[n++] = (struct model_item){.sequence = i, .token = 1 + i, .logits = true};
    for (int i = 0; i < prompt; i++)
        items[n++] = (struct model_item){
            .sequence = answers, .position = i, .token = 1 + i % 50, .logits = i == prompt - 1};
    int64_t begin = clock_mono_ns();
    enum err e = m->ops->step(m, items, n, ei);
    *ret_ns = (double)(clock_mono_ns() - begin);
    for (int i = 0; i <= answers && i < m->info.slots; i++)
        (void)m->ops->seq_trim(m, i, 0);
    return e;
}

/* The least of TRIES steps, or of one when the time is up: other programs may take the cores for a
 * while, and what the machine can do is asked here; what it does today, steps will tell. */
static enum err least(struct model *m, int answers, int prompt, int64_t until_ns, double *ret_ns,
                      struct errinfo *ei) {
    double best = 0, ns;
    for (int i = 0; i < TRIES && (i == 0 || clock_mono_ns() < until_ns); i++) {
        enum err e = one_step(m, answers, prompt, &ns, ei);
        if (e)
            return e;
        if (i == 0 || ns < best)
            best = ns;
    }
    *ret_ns = best;
    return ERR_OK;
}

enum err rates_measure(struct model *m, int most, void (*set_threads)(struct model *m, int threads),
                       struct rates *ret, struct errinfo *ei) {
    int several = m->info.slots - 1 < SEQUENCES ? m->info.slots - 1 : SEQUENCES;
    double one = 0, alone = 0, more = 0, whole = 0;
    struct rates r = {.threads = most};
    int64_t until = clock_mono_ns() + TIME_NS;
    set_threads(m, most);
    enum err e = least(m, 1, 0, until, &one, ei);
    if (!e && most > 1) {
        set_threads(m, 1);
        e = least(m, 1, 0, until, &alone, ei);
        if (!e && alone < one * MUCH_FASTER) {
            r.threads = 1;
            one = alone;
        }
        set_threads(m, r.threads);
    }
    if (!e && several > 1)
        e = least(m, several, 0, until, &more, ei);
    if (!e)
        e = least(m, 0, PROMPT, until, &whole, ei);
    if (e)
        return e;
    /* Steps of 1 and of several answers give base and answer, one with a prompt the rest. */
    r.answer_ns = several > 1 ? (more - one) / (several - 1) : one / 8;
    if (r.answer_ns < one / 100)
        r.answer_ns = one / 100;
    r.base_ns = one - r.answer_ns > one / 100 ? one - r.answer_ns : one / 100;
    r.prompt_ns = (whole - one) / (PROMPT - 1);
    if (r.prompt_ns < one / 1000)
        r.prompt_ns = one / 1000;
    *ret = r;
    return ERR_OK;
}
