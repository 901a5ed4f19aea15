/* Forms: parts lie in the body, in order, and come to an end. */
#include <stdint.h>
#include <stdlib.h>

#include "net/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str body = {(const char *)data, size};
    struct multipart m;
    struct multipart_part p;
    const char *at = body.p;
    if (multipart_begin(&m, STR("multipart/form-data; boundary=xx"), body))
        abort();
    while (multipart_next(&m, &p) == ERR_OK) {
        if (p.bytes.n && (p.bytes.p < at || p.bytes.p + p.bytes.n > body.p + size))
            abort();
        if (p.bytes.n)
            at = p.bytes.p + p.bytes.n;
    }
    if (!multipart_begin(&m, body, STR("x")) && !m.boundary.n)
        abort();
    return 0;
}
