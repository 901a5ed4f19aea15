/* Showing the configuration: what is in force, and the reference. */
#include "config/options.h"

static void show_source(const struct config_data *d, size_t i, struct buf *b) {
    const struct origin *from = &d->origins[i];
    switch (from->source) {
    case CONFIG_DEFAULT:
        buf_addz(b, "default");
        break;
    case CONFIG_FILE:
        buf_addf(b, "%s:%d", d->c.file, from->line);
        break;
    case CONFIG_ENV:
        buf_addz(b, "environment");
        break;
    case CONFIG_FLAG:
        buf_addz(b, "flag");
        break;
    }
}

static bool secret_set(const struct config *c, const struct option *o) {
    return o->flags & OPTION_SECRET && (*(const char *const *)((const char *)c + o->offset))[0];
}

void config_print(const struct config *c, struct buf *b) {
    const struct config_data *d = (const struct config_data *)c;
    buf_addf(b, "# file: %s%s\n", c->file, c->file_read ? "" : " (not there)");
    for (size_t i = 0; i < options_count; i++) {
        size_t start = b->n;
        buf_addf(b, "%s = ", options[i].key);
        if (secret_set(c, &options[i]))
            buf_addz(b, "(set, not shown)");
        else
            option_show(c, &options[i], b);
        while (b->n - start < 44 && !buf_err(b))
            buf_addc(b, ' ');
        buf_addz(b, "  # ");
        show_source(d, i, b);
        buf_addc(b, '\n');
    }
}

void config_print_json(const struct config *c, struct buf *b) {
    const struct config_data *d = (const struct config_data *)c;
    buf_addz(b, "{");
    for (size_t i = 0; i < options_count; i++) {
        const struct option *o = &options[i];
        struct buf value, source;
        buf_init(&value, CONFIG_FILE_MAX);
        buf_init(&source, CONFIG_FILE_MAX);
        if (!(o->flags & OPTION_SECRET))
            option_show(c, o, &value);
        show_source(d, i, &source);
        buf_addf(b, "%s\"%s\":{\"value\":", i ? "," : "", o->key);
        if (secret_set(c, o))
            buf_addz(b, "\"(set)\"");
        else if (o->kind == OPTION_INT)
            buf_adds(b, buf_str(&value));
        else {
            buf_addc(b, '"');
            buf_add_json(b, buf_str(&value));
            buf_addc(b, '"');
        }
        buf_addz(b, ",\"source\":\"");
        buf_add_json(b, buf_str(&source));
        buf_addz(b, "\"}");
        buf_deinit(&value);
        buf_deinit(&source);
    }
    buf_addz(b, "}\n");
}

/* Breaks text at spaces into comment lines of at most 100 columns. */
static void add_comment(struct buf *b, struct str text) {
    while (text.n > 0) {
        size_t n = text.n;
        if (n > 98) {
            n = 98;
            while (n > 1 && text.p[n] != ' ')
                n--;
        }
        buf_addf(b, "# %.*s\n", (int)n, text.p);
        text = str_trim(str_sub(text, n, text.n));
    }
}

static void add_allowed(struct buf *b, const struct option *o) {
    if (o->kind == OPTION_INT) {
        buf_addf(b, "# Allowed: %lld to %lld.\n", (long long)o->min, (long long)o->max);
    } else if (o->kind == OPTION_WORD) {
        buf_addz(b, "# Allowed:");
        for (size_t i = 0; o->words[i]; i++)
            buf_addf(b, "%s %s", i ? "," : "", o->words[i]);
        buf_addz(b, ".\n");
    } else {
        buf_addf(b, "# Allowed: %s.\n", o->allowed);
    }
}

void config_reference(struct buf *b) {
    buf_addz(b, "# Parley's configuration: parley.conf in the data directory, or --config FILE.\n"
                "# Every option is also a flag (--data-dir) and an environment variable\n"
                "# (PARLEY_DATA_DIR); flags go before the environment, that before this file.\n");
    for (size_t i = 0; i < options_count; i++) {
        const struct option *o = &options[i];
        if (o->section)
            buf_addf(b, "\n# ---- %s ----\n", o->section);
        if (o->flags & OPTION_SECRET)
            continue; /* not for a file; the option before it says so */
        buf_addc(b, '\n');
        add_comment(b, str_from(o->help));
        add_allowed(b, o);
        buf_addf(b, "#%s =%s%s\n", o->key, o->standard[0] ? " " : "", o->standard);
    }
}
