/* base/json on any bytes: whatever is accepted is within the depth, can be written, and reads back
 * to the same text. */
#include <stdint.h>
#include <stdlib.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    yyjson_doc *doc, *again;
    struct errinfo ei = {0};
    if (json_parse((struct str){(const char *)data, size}, &doc, &ei)) {
        if (ei.code == ERR_OK || !ei.message[0] || !utf8_valid(str_from(ei.message)))
            abort();
        return 0;
    }
    struct buf first, second;
    buf_init(&first, 1 << 24);
    buf_init(&second, 1 << 24);
    json_write(&first, yyjson_doc_get_root(doc));
    if (buf_err(&first) || !utf8_valid(buf_str(&first)) ||
        json_parse(buf_str(&first), &again, NULL) != ERR_OK)
        abort();
    json_write(&second, yyjson_doc_get_root(again));
    if (!str_eq(buf_str(&first), buf_str(&second)))
        abort();
    json_get_str(yyjson_doc_get_root(doc), "a");
    json_get_int(yyjson_doc_get_root(doc), "a", 0);
    yyjson_doc_free(doc);
    yyjson_doc_free(again);
    buf_deinit(&first);
    buf_deinit(&second);
    return 0;
}
