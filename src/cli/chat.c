/* parley chat: a conversation in the terminal, over the same API as the page.
 *
 * An answer is printed as it comes. When the connection breaks in the middle, the stream is
 * attached to again from the last event that was seen. Ctrl-C stops an answer (its text is kept); a
 * second one leaves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/out.h"
#include "base/uuid.h"
#include "cli/chat_attach.h"
#include "cli/chat_client.h"
#include "cli/chat_login.h"
#include "cli/cli.h"
#include "cli/plain.h"

#define REQUEST_MAX  ((size_t)1 << 20)
#define ATTACH_TRIES 40
#define ATTACH_MS    250
#define INTERRUPTED  130 /* as the shell says it */

struct chat {
    const struct args *args;
    struct chat_client *client;
    struct chat_login login;
    struct errinfo ei;
    bool talk;        /* a person sits there, not a pipe */
    bool terminal;    /* answers are printed on one, with --once, too */
    struct uuid role; /* not set = the server's default */
    char role_name[128];
    struct uuid conversation; /* not set until the first message */
    struct chat_given given;  /* files for the next message */
};

/* ---- one answer ---- */

struct answer {
    struct chat *chat;
    struct uuid message; /* not set before `created` */
    int64_t last_event;
    bool any, newline; /* text was printed; it ended in a line break */
    bool over, stopping, left;
    enum err err; /* of an `error` event, with what it said */
    char why[512];
};

static void print_text(struct answer *a, struct str s) {
    if (a->chat->terminal)
        plain_print(s, true); /* what a model writes does not steer a terminal */
    else
        fwrite(s.p ? s.p : "", 1, s.n, stdout);
    fflush(stdout);
    if (s.n) {
        a->any = true;
        a->newline = s.p[s.n - 1] == '\n';
    }
}

static void take_error(struct answer *a, const json_val *data) {
    struct str message = json_get_str(json_get(data, "error"), "message");
    a->err = ERR_UPSTREAM;
    snprintf(a->why, sizeof a->why, "%.*s",
             STR_ARG(message.n ? message : STR("the answer failed")));
    a->over = true;
}

/* What the guard has to say beside the answer: why it ends early, a warning, help, a notice. The
 * words of a refused question are the answer's text. */
static void print_safety(struct answer *a, const json_val *message) {
    const json_val *safety = json_get(message, "safety");
    const struct str said[] = {json_get_str(safety, "message"), json_get_str(safety, "notice")};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        if (!said[i].n || str_eq(said[i], json_get_str(message, "content")))
            continue;
        if (a->chat->terminal) {
            print_text(a, a->newline || !a->any ? STR("\n") : STR("\n\n"));
            print_text(a, said[i]);
        } else {
            fprintf(stderr, "%s(%.*s)\n", a->any && !a->newline ? "\n" : "", STR_ARG(said[i]));
        }
    }
}

/* What the numbers in an answer stand for: "[1] ferries.md, Sundays". */
static void print_sources(struct answer *a, const json_val *message) {
    size_t i, max;
    yyjson_val *doc;
    bool any = false;
    yyjson_arr_foreach(json_get(message, "retrieved_docs"), i, max, doc) {
        struct str title = json_get_str(doc, "title"), heading = json_get_str(doc, "heading");
        struct str uri = json_get_str(doc, "uri");
        if (!yyjson_is_true(json_get(doc, "cited")))
            continue;
        print_text(a, any || a->newline ? STR("\n") : STR("\n\n"));
        printf("[%d] ", (int)json_get_int(doc, "n", 0));
        plain_print(title.n ? title : json_get_str(doc, "source_name"), false);
        if (heading.n && !str_eq(heading, title)) {
            fputs(", ", stdout);
            plain_print(heading, false);
        }
        if (str_starts(uri, STR("http"))) {
            fputs(" <", stdout);
            plain_print(uri, false);
            fputs(">", stdout);
        }
        any = true;
        a->newline = false;
    }
}

static void take_done(struct answer *a, const json_val *data) {
    a->over = true;
    struct str status = json_get_str(json_get(data, "message"), "status");
    if (a->chat->terminal)
        print_sources(a, json_get(data, "message"));
    print_safety(a, json_get(data, "message"));
    if (a->chat->talk && str_eqz(status, "stopped"))
        fputs(a->newline ? "(stopped)" : " (stopped)", stderr);
}

/* What is left out because there is so much to do. */
static void print_notice(struct answer *a, struct str said) {
    char text[300];
    if (!a->chat->talk || a->any)
        return;
    snprintf(text, sizeof text, "%.*s", STR_ARG(said));
    plain_text(text, strlen(text), false);
    fprintf(stderr, "(%s)\n", text);
}

static bool on_event(void *ctx, const struct sse_event *e) {
    struct answer *a = ctx;
    yyjson_doc *doc = NULL;
    uint64_t id;
    if (str_to_u64(e->id, &id))
        a->last_event = (int64_t)id;
    if (json_parse(e->data, &doc, NULL) != ERR_OK)
        return true;
    const json_val *data = yyjson_doc_get_root(doc);
    if (str_eqz(e->event, "created")) {
        uuid_parse(json_get_str(json_get(data, "message"), "message_id"), &a->message);
    } else if (str_eqz(e->event, "token")) {
        print_text(a, json_get_str(data, "text"));
    } else if (str_eqz(e->event, "reset")) {
        if (a->any)
            putchar('\n'); /* the numbered events are no longer there: the text so far, anew */
        print_text(a, json_get_str(data, "text"));
    } else if (str_eqz(e->event, "queued")) {
        if (a->chat->talk && !a->any && json_get_int(data, "position", 0) > 0)
            fprintf(stderr, "(waiting, %d before you)\n", (int)json_get_int(data, "position", 0));
    } else if (str_eqz(e->event, "notice")) {
        print_notice(a, json_get_str(data, "message"));
    } else if (str_eqz(e->event, "done")) {
        take_done(a, data);
    } else if (str_eqz(e->event, "error")) {
        take_error(a, data);
    }
    yyjson_doc_free(doc);
    return !a->over;
}

static bool on_interrupt(void *ctx) {
    struct answer *a = ctx;
    if (a->stopping || !uuid_is_set(&a->message)) {
        a->left = true;
        return false;
    }
    char path[128];
    a->stopping = true;
    snprintf(path, sizeof path, "/api/v1/messages/%s/stop", a->message.s);
    chat_client_post_quietly(a->chat->client, path);
    return true;
}

/* Streams the answer; after a broken connection from where it was. */
static enum err stream_answer(struct chat *c, struct answer *a, const char *path, struct str body) {
    const struct chat_events events = {on_event, on_interrupt};
    char again[160];
    const char *method = "POST";
    for (int tries = 0; tries < ATTACH_TRIES; tries++) {
        enum err e = chat_client_stream(c->client, method, path, body, &events, a, &c->ei);
        if (a->over) /* leaving the stream then is no error */
            return a->err ? err_set(&c->ei, a->err, "%s", a->why) : ERR_OK;
        if (a->left || !uuid_is_set(&a->message))
            return e ? e : err_set(&c->ei, ERR_UPSTREAM, "the server ended the answer early");
        if (e == ERR_NOT_FOUND || e == ERR_BAD_KEY || e == ERR_INVALID)
            return e;
        chat_client_wait(c->client, ATTACH_MS);
        if (chat_client_interrupts(c->client) > 0)
            return err_set(&c->ei, ERR_CANCELLED, NULL);
        snprintf(again, sizeof again, "/api/v1/messages/%s/events?after=%lld", a->message.s,
                 (long long)a->last_event);
        path = again;
        method = "GET";
        body = STR_NULL;
    }
    return err_set(&c->ei, ERR_UNAVAILABLE, "the connection to %s broke and did not come back",
                   c->login.server);
}

/* ---- the server's things ---- */

static enum err find_role(struct chat *c, const char *name) {
    yyjson_doc *doc = NULL;
    enum err e =
        chat_client_call(c->client, "GET", "/api/v1/roles?limit=200", STR_NULL, &doc, &c->ei);
    if (e)
        return e;
    char known[300] = "";
    size_t n = 0, i, max;
    yyjson_val *role;
    yyjson_arr_foreach(json_get(yyjson_doc_get_root(doc), "data"), i, max, role) {
        struct str full = json_get_str(role, "name"), slug = json_get_str(role, "slug");
        if (str_eq_nocase(full, str_from(name)) || str_eq_nocase(slug, str_from(name))) {
            uuid_parse(json_get_str(role, "role_id"), &c->role);
            snprintf(c->role_name, sizeof c->role_name, "%.*s", STR_ARG(full));
            plain_text(c->role_name, strlen(c->role_name), false);
            yyjson_doc_free(doc);
            return ERR_OK;
        }
        if (n < sizeof known)
            n += (size_t)snprintf(known + n, sizeof known - n, "%s%.*s", n ? ", " : "",
                                  STR_ARG(slug));
    }
    yyjson_doc_free(doc);
    return err_set(&c->ei, ERR_NOT_FOUND, "there is no role \"%.60s\"; there are: %s", name, known);
}

static void list_roles(struct chat *c) {
    yyjson_doc *doc = NULL;
    size_t i, max;
    yyjson_val *role;
    if (chat_client_call(c->client, "GET", "/api/v1/roles?limit=200", STR_NULL, &doc, &c->ei)) {
        cli_say(0, "%s", c->ei.message);
        return;
    }
    yyjson_arr_foreach(json_get(yyjson_doc_get_root(doc), "data"), i, max, role) {
        char slug[128];
        snprintf(slug, sizeof slug, "%.*s", STR_ARG(json_get_str(role, "slug")));
        plain_text(slug, strlen(slug), false);
        printf("/role %-18s ", slug);
        plain_print(json_get_str(role, "description"), false);
        putchar('\n');
    }
    yyjson_doc_free(doc);
}

static enum err start_conversation(struct chat *c) {
    if (uuid_is_set(&c->conversation))
        return ERR_OK;
    struct buf b;
    yyjson_doc *doc = NULL;
    buf_init(&b, REQUEST_MAX);
    out_open(&b, NULL, '{');
    if (uuid_is_set(&c->role))
        out_id(&b, "assistant_role_id", &c->role);
    out_close(&b, '}');
    enum err e =
        chat_client_call(c->client, "POST", "/api/v1/conversations", buf_str(&b), &doc, &c->ei);
    if (!e &&
        !uuid_parse(json_get_str(yyjson_doc_get_root(doc), "conversation_id"), &c->conversation))
        e = err_set(&c->ei, ERR_UPSTREAM, "%s does not answer as Parley does", c->login.server);
    if (doc)
        yyjson_doc_free(doc);
    buf_deinit(&b);
    return e;
}

static enum err latest_conversation(struct chat *c) {
    yyjson_doc *doc = NULL;
    enum err e =
        chat_client_call(c->client, "GET", "/api/v1/conversations?limit=1", STR_NULL, &doc, &c->ei);
    if (e)
        return e;
    const json_val *first = yyjson_arr_get_first(json_get(yyjson_doc_get_root(doc), "data"));
    if (uuid_parse(json_get_str(first, "conversation_id"), &c->conversation) && c->talk) {
        fputs("Going on with: ", stdout);
        plain_print(json_get_str(first, "title"), false);
        putchar('\n');
    }
    yyjson_doc_free(doc);
    return ERR_OK;
}

/* --continue with --role: the conversation goes on with that one. */
static enum err change_role(struct chat *c) {
    struct buf b;
    char path[128];
    buf_init(&b, REQUEST_MAX);
    out_open(&b, NULL, '{');
    out_id(&b, "assistant_role_id", &c->role);
    out_close(&b, '}');
    snprintf(path, sizeof path, "/api/v1/conversations/%s", c->conversation.s);
    enum err e = chat_client_call(c->client, "PATCH", path, buf_str(&b), NULL, &c->ei);
    buf_deinit(&b);
    return e;
}

/* Asks and prints the answer with a line break at its end. */
static enum err ask(struct chat *c, struct str content) {
    struct answer a = {.chat = c};
    if (!utf8_valid(content))
        return err_set(&c->ei, ERR_INVALID, "the message is not UTF-8");
    enum err e = start_conversation(c);
    if (e)
        return e;
    struct buf b;
    char path[128];
    buf_init(&b, REQUEST_MAX * 6);
    out_open(&b, NULL, '{');
    out_str(&b, "content", content);
    if (c->given.n) {
        out_open(&b, "attachments", '[');
        for (size_t i = 0; i < c->given.n; i++)
            out_str(&b, NULL, uuid_str(&c->given.docs[i]));
        out_close(&b, ']');
    }
    out_close(&b, '}');
    snprintf(path, sizeof path, "/api/v1/conversations/%s/messages", c->conversation.s);
    e = buf_err(&b);
    if (!e)
        e = stream_answer(c, &a, path, buf_str(&b));
    if (uuid_is_set(&a.message)) /* it was taken */
        c->given.n = 0;
    buf_deinit(&b);
    if (a.any && !a.newline)
        putchar('\n');
    fflush(stdout);
    return a.left ? err_set(&c->ei, ERR_CANCELLED, NULL) : e;
}

/* ---- talking ---- */

static void say_help(void) {
    puts("/role        show the roles\n"
         "/role NAME   talk with another role, in a new conversation\n"
         "/attach FILE hand a file over; the next message is about it\n"
         "/new         start a new conversation\n"
         "/quit        leave (Ctrl-D, or Ctrl-C twice)\n"
         "/help        this\n"
         "A line that ends in \\ goes on in the next one. Ctrl-C stops an answer.");
}

static void attach(struct chat *c, struct str name) {
    char path[4096];
    snprintf(path, sizeof path, "%.*s", STR_ARG(name));
    if (!name.n)
        puts("/attach FILE: which one?");
    else if (chat_attach(c->client, path, &c->given, &c->ei))
        cli_say(0, "%s", c->ei.message);
    else
        puts("(read; ask about it)");
    chat_client_interrupts(c->client);
}

/* A line that starts with '/'. Returns false to leave. */
static bool command(struct chat *c, struct str line) {
    struct str rest = line, word = str_cut(&rest, ' ');
    char name[128];
    if (str_eqz(word, "/quit") || str_eqz(word, "/exit"))
        return false;
    if (str_eqz(word, "/new")) {
        c->conversation = (struct uuid){0};
        puts("(a new conversation)");
    } else if (str_eqz(word, "/attach")) {
        attach(c, str_trim(rest));
    } else if (str_eqz(word, "/role") && !str_trim(rest).n) {
        list_roles(c);
    } else if (str_eqz(word, "/role")) {
        snprintf(name, sizeof name, "%.*s", STR_ARG(str_trim(rest)));
        if (find_role(c, name) == ERR_OK) {
            c->conversation = (struct uuid){0};
            printf("(a new conversation with %s)\n", c->role_name);
        } else {
            cli_say(0, "%s", c->ei.message);
        }
    } else {
        if (!str_eqz(word, "/help"))
            printf("There is no %.*s.\n", STR_ARG(word));
        say_help();
    }
    return true;
}

/* A message: one line, or several when they end in a backslash. */
static enum err read_message(struct chat *c, struct buf *ret) {
    struct buf line;
    const char *prompt = "> ";
    buf_init(&line, REQUEST_MAX);
    buf_clear(ret);
    enum err e;
    while ((e = chat_client_read_line(c->client, prompt, &line)) == ERR_OK) {
        bool more = line.n && line.p[line.n - 1] == '\\';
        if (more)
            line.n--;
        buf_adds(ret, buf_str(&line));
        if (!more)
            break;
        buf_addc(ret, '\n');
        prompt = "… ";
    }
    buf_deinit(&line);
    return e ? e : buf_err(ret);
}

static int talk(struct chat *c) {
    struct buf message;
    bool leaving = false; /* Ctrl-C was just pressed */
    buf_init(&message, REQUEST_MAX);
    printf("%s at %s. /help says what can be typed.\n", c->role_name[0] ? c->role_name : "Parley",
           c->login.server);
    for (;;) {
        enum err e = read_message(c, &message);
        if (e == ERR_CANCELLED && !leaving) {
            leaving = true;
            puts("\n(Ctrl-C again, or /quit, to leave)");
            continue;
        }
        if (e)
            break;
        leaving = false;
        struct str line = str_trim(buf_str(&message));
        if (line.n && line.p[0] == '/') {
            if (!command(c, line))
                break;
        } else if (line.n) {
            e = ask(c, line);
            if (e == ERR_CANCELLED)
                break;
            if (e)
                cli_say(0, "%s", c->ei.message);
            chat_client_interrupts(c->client); /* those belonged to the answer */
        }
        putchar('\n');
    }
    buf_deinit(&message);
    putchar('\n');
    return CLI_OK;
}

/* ---- one question ---- */

static enum err read_file(const char *path, struct buf *ret, struct errinfo *ei) {
    bool standard = strcmp(path, "-") == 0;
    FILE *f = standard ? stdin : fopen(path, "re");
    char piece[4096];
    size_t n;
    if (!f)
        return err_set(ei, ERR_INVALID, "%s cannot be read", path);
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        buf_add(ret, piece, n);
    if (!standard)
        fclose(f);
    return buf_err(ret) ? err_set(ei, ERR_INVALID, "%s is too long for a message", path) : ERR_OK;
}

static int once(struct chat *c) {
    struct buf message;
    const char *question = args_get(c->args, "once"), *file = args_get(c->args, "file");
    buf_init(&message, REQUEST_MAX);
    if (question)
        buf_addz(&message, question);
    if (question && file)
        buf_addz(&message, "\n\n");
    enum err e = file || !question ? read_file(file ? file : "-", &message, &c->ei) : ERR_OK;
    struct str text = str_trim(buf_str(&message));
    if (!e && text.n == 0)
        e = err_set(&c->ei, ERR_INVALID,
                    "there is no question; say --once \"…\", or write it to stdin");
    if (!e)
        e = ask(c, text);
    buf_deinit(&message);
    if (e == ERR_CANCELLED)
        return INTERRUPTED;
    return e ? cli_fail(e, &c->ei) : CLI_OK;
}

/* ---- the command ---- */

/* Signs in; a kept key that no longer counts (the data was restored, say) is made anew. */
static int sign_in(struct chat *c) {
    struct chat_login *l = &c->login;
    enum err e = chat_client_new(l->server, l->unix_socket[0] ? l->unix_socket : NULL, l->key,
                                 &c->client, &c->ei);
    if (!e)
        e = chat_client_call(c->client, "GET", "/api/v1/users/me", STR_NULL, NULL, &c->ei);
    if (e == ERR_BAD_KEY && l->local) {
        int status = chat_login_renew(c->args, l);
        if (status)
            return status;
        e = chat_client_set_key(c->client, l->key);
        if (!e)
            e = chat_client_call(c->client, "GET", "/api/v1/users/me", STR_NULL, NULL, &c->ei);
    }
    if (e == ERR_UNAVAILABLE)
        return cli_say(CLI_UNREACHABLE,
                       "no Parley answers at %s; start it with `parley serve`, or name another "
                       "with --server URL",
                       l->server);
    if (e)
        return cli_fail(e, &c->ei);
    return args_has(c->args, "save") ? chat_login_save(l) : CLI_OK;
}

int cmd_chat(const struct args *a) {
    struct chat *c = calloc(1, sizeof *c);
    if (!c)
        return cli_say(CLI_FAILED, "out of memory");
    c->args = a;
    c->terminal = isatty(STDOUT_FILENO);
    c->talk = isatty(STDIN_FILENO) && c->terminal && !args_has(a, "once") && !args_has(a, "file");
    log_init("chat", LOG_ERROR);
    log_set_text(true);
    int status = chat_login_find(a, &c->login);
    if (!status)
        status = sign_in(c);
    enum err e = ERR_OK;
    if (!status && args_has(a, "continue"))
        e = latest_conversation(c);
    if (!status && !e && args_has(a, "role"))
        e = find_role(c, args_get(a, "role"));
    if (!status && !e && uuid_is_set(&c->role) && uuid_is_set(&c->conversation))
        e = change_role(c);
    if (!status && !e && args_has(a, "attach"))
        e = chat_attach(c->client, args_get(a, "attach"), &c->given, &c->ei);
    if (e)
        status = cli_fail(e, &c->ei);
    if (!status)
        status = c->talk ? talk(c) : once(c);
    chat_client_free(c->client);
    explicit_bzero(&c->login, sizeof c->login);
    free(c);
    return status;
}
