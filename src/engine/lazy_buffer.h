/* Large buffers of the library's that are cleared take no memory before something is written into
 * them: the library clears the cells of all conversations when it starts, most of which are not
 * used for long. Without this a start spends most of its time on pages of zeros, and an idle engine
 * keeps more than a gigabyte of them. */
#pragma once

/* Once, before the library allocates. */
void lazy_buffers_init(void);
