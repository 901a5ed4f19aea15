/* The configuration file's parser and every option's check. */
#include <stdint.h>
#include <stdlib.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct errinfo ei = {0};
    enum err e = config_check_text("fuzz.conf", (struct str){(const char *)data, size}, &ei);
    if (e != ERR_OK && (e != ERR_INVALID || !ei.message[0] || !utf8_valid(str_from(ei.message))))
        abort(); /* whatever is wrong is said, in valid text */
    return 0;
}
