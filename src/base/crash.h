/* A report of what the process died of, for those who mend it: the signal, the calls that led there
 * and the names and ids of the last things that were logged. No content, no memory.
 *
 * The report is written by the dying process itself with nothing but system calls; it then dies of
 * the signal as it would have. */
#pragma once

#include <stddef.h>

/* Reports go to "<dir>/<name>-<time>-<pid>.txt"; dir is made when missing and its oldest reports
 * are removed, so that at most CRASH_REPORTS stay. Once per process; name and version are borrowed.
 */
#define CRASH_REPORTS 20
void crash_init(const char *dir, const char *name, const char *version);

/* Remembers what happened last. event: a literal; id: text of at most 36 bytes, or "". Any thread.
 */
void crash_note(const char *event, const char *id, size_t id_n);
