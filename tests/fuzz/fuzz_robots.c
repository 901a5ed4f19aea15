/* robots.txt of any bytes, asked about a path of any bytes. */
#include <stdint.h>
#include <stdlib.h>

#include "ingest/robots.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first line is the path. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str text = {(const char *)data, size}, path = str_cut(&text, '\n');
    int64_t ms = robots_delay_ms(text);
    (void)robots_allow(text, path);
    if (ms < 0 || ms > ROBOTS_DELAY_MAX_MS)
        abort();
    return 0;
}
