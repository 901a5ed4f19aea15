/* What the two files that know llama.cpp share. */
#pragma once

#include <stdbool.h>

void llama_library_init(
    void); /* before anything else of the library; any thread, any number of times */
bool llama_library_tiles(
    void); /* whether weights may be laid out anew for this CPU; see the code */
