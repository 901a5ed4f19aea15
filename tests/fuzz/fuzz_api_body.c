/* Bodies of the native API: the first byte chooses a schema, the rest is the body. What passes must
 * hold what the handlers rely on: an object, no NUL in its own strings, known members only. */
#include <stdint.h>
#include <stdlib.h>

#include "api/call.h"
#include "api/schemas.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_members(const struct schema *s, json_val *v) {
    size_t i, n;
    yyjson_val *key, *x;
    if (!yyjson_is_obj(v))
        abort();
    yyjson_obj_foreach(v, i, n, key, x) {
        bool known = s->open;
        for (const struct field *f = s->fields; f->name; f++) {
            if (!str_eqz(json_str(key), f->name))
                continue;
            known = true;
            if (f->type == F_STRING && yyjson_is_str(x) &&
                memchr(yyjson_get_str(x), 0, yyjson_get_len(x)))
                abort();
        }
        if (!known)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct errinfo ei = {0};
    yyjson_doc *doc;
    size_t count = 0;
    if (size == 0)
        return 0;
    while (schemas_all[count])
        count++;
    const struct schema *s = schemas_all[data[0] % count];
    if (json_parse((struct str){(const char *)data + 1, size - 1}, &doc, &ei))
        return 0;
    enum err e = schema_check(s, yyjson_doc_get_root(doc), &ei);
    if (e == ERR_OK)
        check_members(s, yyjson_doc_get_root(doc));
    else if (ei.code != e || !ei.message[0] || !utf8_valid(str_from(ei.message)) ||
             !utf8_valid(str_from(ei.param)))
        abort(); /* every refusal must say why, in text that fits a JSON string */
    yyjson_doc_free(doc);
    return 0;
}
