/* Fixed strings, many at once (Aho and Corasick 1975): markers of chat templates and the like,
 * which are no words. A set does not change once it is built; any thread may scan with it. */
#pragma once

#include "base/err.h"
#include "base/str.h"

#define LITERALS_MAX       2000
#define LITERAL_LENGTH_MAX 64
#define LITERALS_NODES_MAX 32000

struct literals;

struct literals *literals_new(void);
void literals_free(struct literals *l);
enum err literals_add(struct literals *l, struct str s, uint32_t id, struct errinfo *ei) ERR_CHECK;
enum err literals_build(struct literals *l) ERR_CHECK;
void literals_scan(const struct literals *l, struct str text,
                   void (*hit)(void *ctx, uint32_t id, size_t from, size_t to), void *ctx);
/* The next byte of a text that grows; *node is 0 in the beginning. Hits end at `to`. Returns how
 * many bytes, this one included, may be the beginning of one. */
size_t literals_step(const struct literals *l, uint16_t *node, char c, size_t to,
                     void (*hit)(void *ctx, uint32_t id, size_t from, size_t to), void *ctx);
