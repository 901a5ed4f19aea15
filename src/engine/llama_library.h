/* What the files that know llama.cpp share. */
#pragma once

void llama_library_init(
    void); /* before anything else of the library; any thread, any number of times */
