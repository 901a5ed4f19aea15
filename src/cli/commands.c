/* The table of commands. */
#include "cli/cli.h"
#include "cli/eval.h"
#include "cli/models.h"

static const struct arg_option json_only[] = {
    {"json", 0, NULL, "print JSON instead of a table"},
    {0},
};

static const struct arg_option server_options[] = {
    {"listen-fds", 0, "N,…", NULL}, {"lock-fd", 0, "N", NULL},          {"address", 0, "URL", NULL},
    {"notice", 0, "TEXT", NULL},    {"engine-socket", 0, "FILE", NULL}, {0},
};

static const struct arg_option serve_options[] = {
    {"check", 0, NULL, "say whether the settings are right, and end"},
    {0},
};

static const struct arg_option engine_options[] = {
    {"listen", 0, "ADDRESS", "HOST:PORT or unix:/path; default 127.0.0.1:8081"},
    {"key-file", 0, "FILE", "a file whose first line is the key that TCP clients must send"},
    {"listen-fd", 0, "N", NULL},
    {"chat-name", 0, "NAME", NULL},
    {"chat-path", 0, "FILE", NULL},
    {"embedding-name", 0, "NAME", NULL},
    {"embedding-path", 0, "FILE", NULL},
    {0},
};

static const struct arg_option ingest_options[] = {
    {"user", 'u', "NAME", "whose documents; default: the only user, or the first administrator"},
    {"shared", 0, NULL, "everybody may search them"},
    {"collection", 'c', "NAME", "the collection that they belong to"},
    {"all-files", 0, NULL, "in folders also files whose names tell of no known format"},
    {"no-wait", 0, NULL, "do not wait until the server has indexed them"},
    {0},
};

static const struct arg_option extract_options[] = {
    {"name", 0, "NAME", "the file's name; its ending tells text formats apart"},
    {"type", 0, "TYPE", "its media type, when a server said it"},
    {"links", 0, NULL, "it is a sitemap or a feed: list its links"},
    {"cpu", 0, "SECONDS", "the most that it may compute, default 60"},
    {"memory", 0, "BYTES", "the most memory, default 1 GiB"},
    {0},
};

static const struct arg_option chat_options[] = {
    {"once", 'o', "QUESTION", "ask this, print the answer alone, and end"},
    {"file", 'f', "FILE", "put the file's text under the question; - is stdin"},
    {"attach", 'a', "FILE",
     "hand a file over: it becomes a document of yours, and the question is about it"},
    {"role", 'r', "ROLE", "whom to talk with: a role's name or slug"},
    {"continue", 'c', NULL, "go on with your latest conversation"},
    {"server", 's', "URL", "another server than the one on this machine (or PARLEY_SERVER)"},
    {"key", 'k', "KEY", "your API key (better: PARLEY_KEY, other users can see arguments)"},
    {"user", 'u', "NAME", "on the server's machine: as whom; default: the first administrator"},
    {"save", 0, NULL, "remember --server and the key in ~/.config/parley/chat.conf"},
    {0},
};

static const struct arg_option config_options[] = {
    {"reference", 0, NULL, "print the documented file with all defaults"},
    {"json", 0, NULL, "print what is in force as JSON"},
    {0},
};

static const struct arg_option user_add_options[] = {
    {"email", 'e', "ADDRESS", "the e-mail address (needed)"},
    {"admin", 0, NULL, "an administrator"},
    {0},
};
static const struct arg_option user_admin_options[] = {
    {"off", 0, NULL, "take the right away"},
    {0},
};
static const struct arg_option user_delete_options[] = {
    {"yes", 'y', NULL, "do not ask"},
    {0},
};
static const struct arg_option user_key_options[] = {
    {"name", 'n', "TEXT", "what the key is for; default \"terminal\""},
    {0},
};

static const struct command user_commands[] = {
    {"list", "", 0, 0, "show all accounts", NULL, json_only, NULL, cmd_user_list, NULL, false},
    {"add", "NAME", 1, 1, "make an account; asks for the password (or reads it from stdin)",
     "  parley user add ada --email ada@example.org --admin\n", user_add_options, NULL,
     cmd_user_add, NULL, false},
    {"passwd", "NAME", 1, 1, "set a new password; ends all sessions", NULL, NULL, NULL,
     cmd_user_passwd, NULL, false},
    {"disable", "NAME", 1, 1, "no signing in, no keys, until enabled again", NULL, NULL, NULL,
     cmd_user_disable, NULL, false},
    {"enable", "NAME", 1, 1, "undo disable", NULL, NULL, NULL, cmd_user_enable, NULL, false},
    {"admin", "NAME", 1, 1, "make an administrator of a member", NULL, user_admin_options, NULL,
     cmd_user_admin, NULL, false},
    {"delete", "NAME", 1, 1, "remove an account with all that is theirs", NULL, user_delete_options,
     NULL, cmd_user_delete, NULL, false},
    {"key", "NAME", 1, 1, "make an API key and print it (only this once)",
     "  export PARLEY_KEY=$(parley user key ada)\n", user_key_options, NULL, cmd_user_key, NULL,
     false},
    {0},
};

static const struct arg_option role_list_options[] = {
    {"json", 0, NULL, "print JSON instead of a table"},
    {"all", 'a', NULL, "also the retired ones"},
    {0},
};
static const struct arg_option role_edit_options[] = {
    {"name", 0, "TEXT", "its name"},
    {"description", 'd', "TEXT", "one line about it"},
    {"prompt", 'p', "TEXT", "the system prompt"},
    {"prompt-file", 0, "FILE", "the same from a file; - is stdin"},
    {"model", 0, "NAME", "the model; empty = the default one"},
    {"temperature", 0, "N", "0 to 2; empty = the model's default"},
    {"top-p", 0, "N", "above 0, up to 1; empty = the model's default"},
    {"max-tokens", 0, "N", "the longest answer; 0 = the model's default"},
    {"stop", 0, "LINES", "texts that end an answer, one a line, up to 4; empty = none"},
    {"starters", 0, "LINES", "questions to begin with, one a line, up to 10; empty = none"},
    {"restore", 0, NULL, "bring a retired role back"},
    {0},
};

static const struct command role_commands[] = {
    {"list", "", 0, 0, "show the roles", NULL, role_list_options, NULL, cmd_role_list, NULL, false},
    {"show", "ROLE", 1, 1, "show one role with its prompt", NULL, json_only, NULL, cmd_role_show,
     NULL, false},
    {"add", "NAME", 1, 1, "make a role", "  parley role add Poet --prompt 'You answer in verse.'\n",
     role_edit_options, NULL, cmd_role_add, NULL, false},
    {"edit", "ROLE", 1, 1, "change a role; a changed prompt makes a new version", NULL,
     role_edit_options, NULL, cmd_role_edit, NULL, false},
    {"retire", "ROLE", 1, 1, "take a role away from new conversations", NULL, NULL, NULL,
     cmd_role_retire, NULL, false},
    {0},
};

static const struct arg_option conversation_list_options[] = {
    {"json", 0, NULL, "print JSON instead of a table"},
    {"user", 'u', "NAME", "whose; default: the only user, or the first administrator"},
    {"limit", 'n', "N", "at most so many; default 50"},
    {"search", 0, "WORDS", "only those in which all words occur"},
    {0},
};
static const struct arg_option conversation_options[] = {
    {"json", 0, NULL, "print JSON"},
    {"user", 'u', "NAME", "whose; default: the only user, or the first administrator"},
    {0},
};
static const struct arg_option conversation_delete_options[] = {
    {"user", 'u', "NAME", "whose; default: the only user, or the first administrator"},
    {"yes", 'y', NULL, "do not ask"},
    {0},
};

static const struct command conversation_commands[] = {
    {"list", "", 0, 0, "show a user's conversations, newest first", NULL, conversation_list_options,
     NULL, cmd_conversation_list, NULL, false},
    {"show", "ID", 1, 1, "print a conversation as it stands", NULL, conversation_options, NULL,
     cmd_conversation_show, NULL, false},
    {"export", "[ID]", 0, 1, "print whole conversations, all branches, as JSON lines",
     "  parley conversation export --user ada > ada.jsonl\n", conversation_options, NULL,
     cmd_conversation_export, NULL, false},
    {"delete", "ID", 1, 1, "remove a conversation", NULL, conversation_delete_options, NULL,
     cmd_conversation_delete, NULL, false},
    {0},
};

static const struct arg_option backup_options[] = {
    {"force", 'f', NULL, "replace FILE when it is there"},
    {"list", 'l', NULL, "show the backups that Parley has made by itself, newest first"},
    {"json", 0, NULL, "with --list: print JSON instead of a table"},
    {0},
};

static const struct arg_option restore_options[] = {
    {"at", 0, "TIME", "the newest of Parley's own backups at or before TIME, in UTC"},
    {0},
};

static const struct arg_option eval_options[] = {
    {"json", 0, NULL, "print JSON instead of a table"},
    {"policy", 0, "FILE", "this policy instead of the default one"},
    {"model", 0, "FILE", "this classifier instead of the built-in one"},
    {"no-embedding", 0, NULL, "judge as when no embedding model is there"},
    {"verdicts", 0, "FILE", "write each row's verdict there, as JSON lines without its text"},
    {0},
};

static const struct arg_option search_options[] = {
    {"user", 'u', "NAME", "as whom; default: the only user, or the first administrator"},
    {"role", 'r', "ROLE", "also what is bound to this role, with what its ratings taught"},
    {"source", 0, "TEXT", "only sources whose name has this"},
    {"tag", 0, "TAG", "only documents with this tag"},
    {"type", 0, "TYPE", "only documents of this type"},
    {"from", 0, "DAY", "only documents of this day (2026-03-01) and later ones"},
    {"to", 0, "DAY", "only documents of this day and earlier ones"},
    {"limit", 'n', "N", "at most so many passages; default 8"},
    {"rrf", 0, NULL, "fuse by ranks instead of scores"},
    {0},
};

static const struct arg_option eval_retrieval_options[] = {
    {"json", 0, NULL, "print JSON instead of a table"},
    {"per-query", 0, "FILE", "write the measures of each query, tab-separated"},
    {"cache", 0, "DIR", "keep the vectors in this folder, and take them from there next time"},
    {"no-vectors", 0, NULL, "words only: nothing is embedded"},
    {0},
};

static const struct command audit_commands[] = {
    {"verify", "", 0, 0, "walk the audit log's chain of hashes", NULL, NULL, NULL, cmd_audit_verify,
     NULL, false},
    {0},
};

static const struct command eval_commands[] = {
    {"retrieval", "DIR", 1, 1, "a folder in BEIR's layout: what search finds of what is relevant",
     "DIR holds corpus.jsonl {\"_id\", \"title\", \"text\"}, queries.jsonl {\"_id\", \"text\"} "
     "and\n"
     "qrels.tsv or qrels/test.tsv (query-id, corpus-id, score), each plain or .gz.\n",
     eval_retrieval_options, NULL, cmd_eval_retrieval, NULL, false},
    {"safety", "FILE", 1, 1, "harmful and harmless texts: what is blocked, what is left in peace",
     "FILE holds JSON lines or an array, plain or .gz: {\"text\", \"harmful\": 0 or 1} or "
     "{\"prompt\",\n"
     "\"response\", \"harmful\"}, and \"categories\" if wanted. No text is ever printed.\n",
     eval_options, NULL, cmd_eval_safety, NULL, false},
    {"injection", "FILE", 1, 1, "texts with and without orders to the model",
     "FILE holds {\"text\", \"injection\": 0 or 1}, as JSON lines or an array, plain or .gz.\n",
     eval_options, NULL, cmd_eval_injection, NULL, false},
    {"pii", "FILE", 1, 1, "sentences with marked personal data",
     "FILE holds {\"full_text\" or \"text\", \"spans\": [{\"entity_type\", \"start_position\",\n"
     "\"end_position\"}]}, as an array (Presidio's form) or JSON lines, plain or .gz.\n",
     json_only, NULL, cmd_eval_pii, NULL, false},
    {0},
};

static const struct command commands[] = {
    {"serve", "", 0, 0, "run Parley: the page, the API and the model",
     "Prints the page's address, and a one-time link for the first account. Ctrl-C stops it.\n\n"
     "  parley serve --port 9000\n"
     "  parley serve --model smollm2-135m-instruct\n"
     "  parley serve --upstream http://127.0.0.1:11434/v1 --upstream-model llama3\n",
     serve_options, NULL, cmd_serve, NULL, false},
    {"upgrade", "", 0, 0,
     "let the program that was installed meanwhile take over from the one that runs",
     "No connection is refused, no answer broken. The same as SIGUSR2 to `parley serve`.\n", NULL,
     NULL, cmd_upgrade, NULL, false},
    {"engine", "", 0, 0, "run only the model, as an OpenAI-compatible server",
     "  parley engine --listen 0.0.0.0:8081 --key-file key --model qwen2.5-coder-0.5b-instruct\n",
     engine_options, NULL, cmd_engine, NULL, false},
    {"chat", "", 0, 0, "talk in the terminal",
     "Without --server it talks to the server on this machine, and signs in by itself when you "
     "may\n"
     "read its data directory. Inside, /help lists what can be typed. Ctrl-C stops an answer.\n\n"
     "  parley chat --role travel-assistant\n"
     "  parley chat --once \"What is a monad?\"\n"
     "  git diff | parley chat --once \"Review this:\" --file -\n",
     chat_options, NULL, cmd_chat, NULL, false},
    {"model", "…", 0, 0, "list, fetch, add and choose models", NULL, NULL, NULL, NULL, cmd_model,
     false},
    {"user", "…", 0, 0, "accounts", NULL, NULL, user_commands, NULL, NULL, false},
    {"role", "…", 0, 0, "assistant roles", NULL, NULL, role_commands, NULL, NULL, false},
    {"conversation", "…", 0, 0, "users' conversations", NULL, NULL, conversation_commands, NULL,
     NULL, false},
    {"eval", "…", 0, 0, "measure search and guard on labelled files", NULL, NULL, eval_commands,
     NULL, NULL, false},
    {"learn", "[WHAT]", 0, 2, "learn from ratings now, and show what they changed",
     "Makes an order of passages from the ratings, replays it on held-back ones, and gives it to "
     "a\n"
     "share of the conversations only when the replay proves it. The server does the same by "
     "itself.\n\n"
     "  parley learn                  make and prove a candidate now\n"
     "  parley learn changes          what feedback changed, in words\n"
     "  parley learn candidates       all candidates with their proofs\n"
     "  parley learn off ranker       switch a learner off: ranker, approved, variants, examples,\n"
     "                                explore\n"
     "  parley learn on ranker        and on again\n",
     json_only, NULL, cmd_learn, NULL, false},
    {"search", "QUESTION", 1, 1, "the passages that a question finds, and why",
     "  parley search \"How high are the waves of Nazare?\" --role travel-assistant\n",
     search_options, NULL, cmd_search, NULL, false},
    {"config", "", 0, 0, "print the configuration in force and where each value is from", NULL,
     config_options, NULL, cmd_config, NULL, false},
    {"doctor", "", 0, 0, "find what is wrong with this installation and say what to do", NULL,
     json_only, NULL, cmd_doctor, NULL, false},
    {"ingest", "PATH…", 1, ARGS_OPERANDS_MAX, "bring files and folders in as documents",
     "Files that have not changed since the last time are passed over, so an interrupted run goes "
     "on\nwhere it stopped. A running server indexes them; without one they wait for it.\n\n"
     "  parley ingest ~/handbook report.pdf\n"
     "  parley ingest --shared --user ada /srv/policies\n",
     ingest_options, NULL, cmd_ingest, NULL, false},
    {"audit", "…", 0, 0, "look after the audit log", NULL, NULL, audit_commands, NULL, NULL, false},
    {"backup", "[FILE]", 0, 1, "copy all data into a file, while Parley runs or not",
     "With --list: the backups that a running Parley has made by itself (backup_hours).\n\n"
     "  parley backup parley-$(date +%F).db\n"
     "  parley backup --list\n",
     backup_options, NULL, cmd_backup, NULL, false},
    {"restore", "[FILE]", 0, 1, "put a backup in place of the data; Parley must not run",
     "With --at TIME: the newest backup that Parley made by itself at or before that time (UTC).\n"
     "What came after the backup is not in it.\n\n"
     "  parley restore parley-2026-11-27.db\n"
     "  parley restore --at \"2026-11-27 10:00\"\n",
     restore_options, NULL, cmd_restore, NULL, false},
    {"extract", "", 0, 0, "print the text of a file, as documents are read; locked in",
     "Reads stdin. What it prints is for the server: fields, then title, marks and text.\n\n"
     "  parley extract --name report.pdf < report.pdf\n",
     extract_options, NULL, cmd_extract, NULL, true},
    {"server", "", 0, 0, "the server process; started by serve", NULL, server_options, NULL,
     cmd_server, NULL, true},
    {0},
};

const struct command *cli_commands(void) {
    return commands;
}
