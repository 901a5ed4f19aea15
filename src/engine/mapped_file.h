/* What a mapped file takes of this process's memory. */
#pragma once

/* Pages of the file that are mapped to be read only, and shared, are given back: they stay in the
 * system's cache, and one that is looked at again comes from there. Any thread; the mappings
 * themselves stay. */
void mapped_file_release(const char *path);
