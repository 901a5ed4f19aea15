/* Large buffers of the library's that are cleared take no memory before something is written into
 * them: the library clears the cells of all conversations when it starts, most of which are not
 * used for long. Without this a start spends most of its time on pages of zeros, and an idle engine
 * keeps more than a gigabyte of them. */
#pragma once

struct copies;

/* Once, before the library allocates. */
void lazy_buffers_init(void);
/* What this thread copies into and out of such buffers through the library from now on is only
 * added there; NULL: it is copied again. */
void lazy_buffers_collect(struct copies *c);
