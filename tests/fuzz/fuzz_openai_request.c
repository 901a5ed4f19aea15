/* Bodies of POST /v1/chat/completions, through the checks and the rewriting: what is sent to the
 * model server must be JSON with our model, our "parley", no nulls and the role's prompt in front,
 * whatever the client sent. */
#include <stdint.h>
#include <stdlib.h>

#include "api/openai.h"
#include "api/schemas.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok) {
    if (!ok)
        abort();
}

static void check_sent(struct str text) {
    yyjson_doc *doc;
    size_t i, n;
    yyjson_val *key, *v;
    require(json_parse(text, &doc, NULL) == ERR_OK);
    json_val *root = yyjson_doc_get_root(doc), *messages = json_get(root, "messages");
    require(str_eq(json_get_str(root, "model"), STR("tiny")));
    require(str_eq(json_get_str(json_get(root, "parley"), "user"),
                   STR("01890000-0000-7000-8000-000000000000")));
    require(str_eq(json_get_str(yyjson_arr_get_first(messages), "content"), STR("be good")));
    yyjson_obj_foreach(root, i, n, key, v) {
        require(!yyjson_is_null(v));
    }
    yyjson_doc_free(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct role role = {
        .system_prompt = {"be good", 7}, .temperature = 0.5, .top_p = -1, .stop = {"[\"x\"]", 5}};
    const struct openai_target target = {STR("tiny"), &role};
    struct errinfo ei = {0};
    struct uuid user;
    struct buf out;
    yyjson_doc *doc;
    if (json_parse((struct str){(const char *)data, size}, &doc, &ei))
        return 0;
    json_val *root = yyjson_doc_get_root(doc);
    require(uuid_parse(STR("01890000-0000-7000-8000-000000000000"), &user));
    if (schema_check(&schema_chat_completion_request, root, &ei) == ERR_OK &&
        openai_check_chat(root, &ei) == ERR_OK) {
        buf_init(&out, (size_t)8 << 20);
        if (openai_rewrite(doc, &target, &user, &out, &ei) == ERR_OK)
            check_sent(buf_str(&out));
        buf_deinit(&out);
    }
    yyjson_doc_free(doc);
    return 0;
}
