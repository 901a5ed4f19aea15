/* What a child that was taken over could say: it is refused, or it keeps the promises of a text. */
#include <stdint.h>
#include <stdlib.h>

#include "extract/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena *a = arena_new((size_t)64 << 20);
    struct extracted e;
    if (a && !wire_read((struct str){(const char *)data, size}, a, &e)) {
        if (!utf8_valid(e.doc.text) || !utf8_valid(e.doc.title) || e.fault >= EXTRACT_FAULT_COUNT)
            abort();
        for (size_t i = 0; i < e.doc.n_marks; i++)
            if (e.doc.marks[i].to > e.doc.text.n || e.doc.marks[i].from > e.doc.marks[i].to)
                abort();
    }
    arena_free(a);
    return 0;
}
