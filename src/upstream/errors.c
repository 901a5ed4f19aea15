/* What a model server's refusal means. Servers agree on the HTTP status and on little else: the
 * body is OpenAI's {"error":{"message","type","code"}}, {"error":"text"}, {"detail":…} or no JSON
 * at all. The server's own words are shown to the person who asked, cut and cleaned, and never
 * logged. */
#include <stdio.h>

#include "upstream/upstream_internal.h"

#define WORDS_MAX 300

/* The server's words as valid UTF-8 without control characters. */
static void clean_words(struct str s, char *out, size_t size) {
    struct str words = str_trim(s);
    if (!utf8_valid(words))
        words = STR_NULL;
    words.n = utf8_cut(words, size - 1);
    for (size_t i = 0; i < words.n; i++)
        out[i] = (unsigned char)words.p[i] < 0x20 || words.p[i] == 0x7f ? ' ' : words.p[i];
    out[words.n] = 0;
}

static bool has_word(struct str s, const char *word) {
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= s.n; i++)
        if (str_eq_nocase(str_sub(s, i, n), str_from(word)))
            return true;
    return false;
}

static bool is_context(struct str code, struct str type, struct str message) {
    return str_eqz(code, "context_length_exceeded") || str_eqz(type, "exceed_context_size_error") ||
           has_word(message, "maximum context length") ||
           has_word(message, "exceeds the available context") ||
           has_word(message, "context window");
}

static enum err refuse(int status, struct str code, struct str type, struct str message,
                       int64_t retry_after_ms, struct errinfo *ei) {
    char words[WORDS_MAX];
    clean_words(message, words, sizeof words);
    const char *sep = words[0] ? ": " : "";
    enum err e;
    if (is_context(code, type, message))
        e = err_set(ei, ERR_CONTEXT, "the prompt is longer than the model's window%s%s", sep,
                    words);
    else if (status == 401 || status == 403)
        e = err_set(ei, ERR_UPSTREAM,
                    "the model server refused the key (HTTP %d): check upstream_key_file or "
                    "PARLEY_UPSTREAM_KEY",
                    status);
    else if (str_eqz(code, "model_not_found") || (status == 404 && has_word(message, "model")))
        e = err_set(ei, ERR_NO_MODEL, "the model server does not have this model%s%s", sep, words);
    else if (status == 404)
        e = err_set(
            ei, ERR_UPSTREAM,
            "the model server does not know this address: its base URL usually ends in /v1");
    else if (str_eqz(code, "insufficient_quota"))
        e = err_set(ei, ERR_UPSTREAM, "the model server's account is used up%s%s", sep, words);
    else if (status == 429)
        e = err_set(ei, ERR_OVERLOADED, "%s",
                    words[0] ? words : "the model is busy; try again in a moment");
    else if (status == 503)
        e = err_set(ei, ERR_UNAVAILABLE, "the model server is not ready%s%s", sep, words);
    else if (status >= 400 && status < 500)
        e = err_set(ei, ERR_UPSTREAM, "the model server refused the request (HTTP %d)%s%s", status,
                    sep, words);
    else
        e = err_set(ei, ERR_UPSTREAM, "the model server failed (HTTP %d)%s%s", status, sep, words);
    if (e == ERR_OVERLOADED || e == ERR_UNAVAILABLE)
        ei->retry_after_ms = retry_after_ms > 0 ? (uint32_t)retry_after_ms : 1000;
    return e;
}

enum err upstream_error_value(int status, const json_val *error, int64_t retry_after_ms,
                              struct errinfo *ei) {
    if (yyjson_is_str((json_val *)error))
        return refuse(status, STR_NULL, STR_NULL, json_str(error), retry_after_ms, ei);
    int64_t code = json_get_int(error, "code", 0); /* llama-server: the HTTP status */
    if (code >= 400 && code <= 599)
        status = (int)code;
    return refuse(status, json_get_str(error, "code"), json_get_str(error, "type"),
                  json_get_str(error, "message"), retry_after_ms, ei);
}

enum err upstream_refusal(int status, struct str body, int64_t retry_after_ms, struct errinfo *ei) {
    yyjson_doc *doc;
    if (json_parse(body, &doc, NULL))
        return refuse(status, STR_NULL, STR_NULL, STR_NULL, retry_after_ms, ei);
    json_val *root = yyjson_doc_get_root(doc);
    json_val *error = json_get(root, "error");
    enum err e;
    if (error)
        e = upstream_error_value(status, error, retry_after_ms, ei);
    else
        e = upstream_error_value(status, root, retry_after_ms,
                                 ei); /* {"message":…}, {"detail":…} */
    yyjson_doc_free(doc);
    return e;
}

bool upstream_is_loading(struct str body) {
    yyjson_doc *doc;
    if (json_parse(body, &doc, NULL))
        return false;
    const json_val *error = json_get(yyjson_doc_get_root(doc), "error");
    bool is = str_eqz(json_get_str(error, "code"), err_code(ERR_LOADING)) ||
              has_word(json_get_str(error, "message"), "loading model"); /* llama-server */
    yyjson_doc_free(doc);
    return is;
}
