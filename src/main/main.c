/* parley: one program with subcommands; see src/cli/commands.c for the table. */
#include <stdio.h>

#include "cli/cli.h"

int main(int argc, char **argv) {
    int status = cli_main(argc, argv);
    if (fflush(stdout) != 0 && status == CLI_OK)
        status = CLI_FAILED; /* a full disk or a closed pipe behind `parley … > file` */
    return status;
}
