/* bench_learn [--quick] [--data FOLDER] [--questions FILE] [--held-out FILE] [--served FILE]
 * [--cut BYTES] [--cache FOLDER]: see docs/learning.md. FOLDER holds cranfield/ and cacm/ in BEIR's
 * layout; the file of --served is learn_served.py's.
 * bench_learn --tune cranfield [--first-seed N] [--seeds N]: only the complete learner on one
 * collection, with other seeds than the bench's 1 to 5. */
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/embedder.h"
#include "net/loop.h"
#include "world.h"

#define RESULTS_MAX 64

static struct {
    char name[120], unit[16], aim[16], better[8];
    double value;
} results[RESULTS_MAX];
static size_t n_results;

void result_add(const char *name, double value, const char *unit, const char *aim,
                const char *better) {
    if (n_results == RESULTS_MAX)
        return;
    snprintf(results[n_results].name, sizeof results->name, "%s", name);
    snprintf(results[n_results].unit, sizeof results->unit, "%s", unit);
    snprintf(results[n_results].aim, sizeof results->aim, "%s", aim);
    snprintf(results[n_results].better, sizeof results->better, "%s", better);
    results[n_results++].value = value;
}

/* What was measured through the program: name, value, unit, aim, better; tabs between. */
static void add_served(const char *path) {
    char line[400];
    FILE *f = path ? fopen(path, "r") : NULL;
    while (f && fgets(line, sizeof line, f)) {
        char *field[5], *at = line;
        line[strcspn(line, "\n")] = 0;
        for (size_t i = 0; i < 5; i++)
            field[i] = at ? strsep(&at, "\t") : (char *)"";
        result_add(field[0], strtod(field[1], NULL), field[2], field[3], field[4]);
    }
    if (f)
        fclose(f);
}

static void print_results(void) {
    struct buf b;
    buf_init(&b, 65536);
    buf_addz(&b, "{\"bench\":\"learn\",\"results\":[");
    for (size_t i = 0; i < n_results; i++) {
        buf_addz(&b, i ? ",{\"name\":\"" : "{\"name\":\"");
        buf_add_json(&b, str_from(results[i].name));
        buf_addf(&b, "\",\"value\":%.4f,\"unit\":\"%s\",\"aim\":%s,\"better\":\"%s\"}",
                 results[i].value, results[i].unit, results[i].aim[0] ? results[i].aim : "null",
                 results[i].better);
    }
    buf_addz(&b, "]}");
    printf("\n%s\n", buf_err(&b) ? "{}" : b.p);
    buf_deinit(&b);
}

static const char *option(int argc, char **argv, const char *name, const char *otherwise) {
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    return otherwise;
}

int main(int argc, char **argv) {
    static const char *const names[] = {"cranfield", "cacm"};
    if (argc > 1 && strcmp(argv[1], "engine") == 0)
        return cli_main(argc, argv); /* the embedder starts this program again as its engine */
    struct bench_options o = {.seeds = SEEDS, .first_seed = 1, .ratings = 5000};
    struct config *c;
    struct embedder *m;
    struct errinfo ei = {0};
    const char *data = option(argc, argv, "--data", NULL);
    const char *cache = option(argc, argv, "--cache", "bench-learn-cache");
    size_t cut = strtoul(option(argc, argv, "--cut", "4000"), NULL, 10);
    const char *tune = option(argc, argv, "--tune", NULL);
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--quick") == 0)
            o = (struct bench_options){.quick = true, .seeds = 2, .first_seed = 1, .ratings = 1000};
    if (tune) {
        o.main_only = true;
        o.first_seed = strtoul(option(argc, argv, "--first-seed", "101"), NULL, 10);
        o.seeds = strtoul(option(argc, argv, "--seeds", "4"), NULL, 10);
        if (o.seeds < 1 || o.seeds > SEEDS_MAX)
            die("--seeds is 1 to 32");
    }
    log_init("bench", LOG_ERROR);
    if (net_init(&ei) || crypto_init() || config_load(NULL, NULL, 0, &c, &ei) ||
        embedder_open(c, &m, &ei))
        die(ei.message[0] ? ei.message : "the embedding model cannot be opened");
    for (size_t i = 0; data && i < 2; i++) {
        char dir[500];
        if (tune && strcmp(tune, names[i]) != 0)
            continue;
        snprintf(dir, sizeof dir, "%s/%s", data, names[i]);
        bench_retrieval(pool_open(names[i], dir, m, cache, cut), &o);
        fflush(stdout);
    }
    if (!data)
        printf(
            "No collections were given (--data FOLDER with cranfield/ and cacm/): retrieval is not "
            "measured.\n");
    if (!tune) {
        bench_bandit(&o);
        bench_approved(m, option(argc, argv, "--questions", "bench/learn/questions.tsv"), cache,
                       false);
        bench_approved(m, option(argc, argv, "--held-out", "bench/learn/questions-held-out.tsv"),
                       cache, true);
        add_served(option(argc, argv, "--served", NULL));
    }
    embedder_close(m);
    config_free(c);
    print_results();
    return 0;
}
