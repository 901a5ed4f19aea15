/* `parley extract`: the locked-in reader of one file, which the server starts for each document. */
#include "cli/cli.h"
#include "extract/extract.h"

/* A number that may be missing; false when it is none. */
static bool number(const struct args *a, const char *name, uint64_t max, uint64_t *ret) {
    *ret = 0;
    return !args_has(a, name) || (str_to_u64(str_from(args_get(a, name)), ret) && *ret <= max);
}

int cmd_extract(const struct args *a) {
    uint64_t cpu, memory;
    if (!number(a, "cpu", 86400, &cpu) || !number(a, "memory", (uint64_t)1 << 40, &memory))
        return cli_say(CLI_USAGE, "--cpu and --memory take whole numbers");
    struct extract_child c = {.name = str_from(args_has(a, "name") ? args_get(a, "name") : ""),
                              .type = str_from(args_has(a, "type") ? args_get(a, "type") : ""),
                              .links = args_has(a, "links"),
                              .cpu_seconds = (int)cpu,
                              .memory_bytes = (size_t)memory};
    return extract_child_main(&c) ? CLI_FAILED : CLI_OK;
}
