/* engine/gguf_header on any bytes: a header that is taken has sizes that can be calculated with,
 * and an error says what is wrong. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/gguf_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    struct gguf_header h;
    struct errinfo ei = {0};
    int fd = memfd_create("gguf", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    enum err e = gguf_header_read(path, &h, &ei);
    close(fd);
    if (e) {
        if (e != ERR_CORRUPT || !ei.message[0])
            abort();
        return 0;
    }
    int64_t values = gguf_token_values(&h);
    if (values < 0 || values > (int64_t)1 << 33 || h.parameters < 0 || !h.architecture[0] ||
        !memchr(h.name, 0, sizeof(h.name)) || !gguf_form_name(h.file_type))
        abort();
    return 0;
}
