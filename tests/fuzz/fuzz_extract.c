/* The parsers of files without their sandbox: any bytes give a fault or a text that keeps its
 * promises, and what is said of it passes the wire's check. */
#include <stdint.h>
#include <stdlib.h>

#include "extract/extract.h"
#include "extract/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte picks a name, so that text formats have their turn. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"a",      "a.md",  "a.csv", "a.json",
                                        "a.html", "a.eml", "a.c",   "feed"};
    struct extract_input in = {.fd = -1};
    struct extracted out, again;
    struct arena *a = arena_new((size_t)512 << 20);
    struct buf b;
    if (size == 0 || !a) {
        arena_free(a);
        return 0;
    }
    in.name = str_from(names[data[0] % 8]);
    in.links = data[0] % 8 == 7;
    in.bytes = (struct str){(const char *)data + 1, size - 1};
    buf_init(&b, WIRE_MAX);
    if (str_find(str_sub(in.bytes, 0, 1024), STR("%PDF-")) == SIZE_MAX &&
        !extract_parse(&in, a, &out)) {
        wire_write(&b, &out);
        if (wire_read(buf_str(&b), a, &again) || again.fault != out.fault ||
            !str_eq(again.doc.text, out.doc.text) || again.doc.n_marks != out.doc.n_marks)
            abort();
    }
    buf_deinit(&b);
    arena_free(a);
    return 0;
}
