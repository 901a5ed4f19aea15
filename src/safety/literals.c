/* The automaton over bytes. See literals.h. Bytes that occur in no string share one class, so that
 * the table of transitions stays small. */
#include "safety/literals.h"

#include <stdlib.h>

struct node {
    uint16_t fail, report; /* report: the next node on the fail path that ends a string; 0 = none */
    uint32_t id;
    uint8_t length; /* of the string that ends here; 0 = none does */
    uint8_t depth;  /* bytes from the root */
};

struct literal {
    uint32_t id;
    uint8_t n;
    char text[LITERAL_LENGTH_MAX];
};

struct literals {
    struct literal list[LITERALS_MAX];
    size_t n;
    uint8_t class_of[256];
    bool begins[256]; /* a string begins with that byte */
    size_t classes;
    struct node *nodes;
    uint16_t *next; /* nodes × classes */
    size_t n_nodes;
};

struct literals *literals_new(void) {
    return calloc(1, sizeof(struct literals));
}

void literals_free(struct literals *l) {
    if (!l)
        return;
    free(l->nodes);
    free(l->next);
    free(l);
}

enum err literals_add(struct literals *l, struct str s, uint32_t id, struct errinfo *ei) {
    if (s.n < 3 || s.n > LITERAL_LENGTH_MAX)
        return err_set(ei, ERR_INVALID, "a quoted string has 3 to 64 bytes");
    if (l->n == LITERALS_MAX)
        return err_set(ei, ERR_TOO_LARGE, "there are more than 2,000 quoted strings");
    l->list[l->n] = (struct literal){.id = id, .n = (uint8_t)s.n};
    memcpy(l->list[l->n++].text, s.p, s.n);
    return ERR_OK;
}

static enum err insert(struct literals *l, const struct literal *s) {
    size_t at = 0;
    for (size_t i = 0; i < s->n; i++) {
        uint16_t *to = &l->next[at * l->classes + l->class_of[(unsigned char)s->text[i]]];
        if (!*to) {
            if (l->n_nodes == LITERALS_NODES_MAX)
                return ERR_TOO_LARGE;
            *to = (uint16_t)l->n_nodes++;
            l->nodes[*to].depth = (uint8_t)(i + 1);
        }
        at = *to;
    }
    l->nodes[at].id = s->id;
    l->nodes[at].length = s->n;
    l->begins[(unsigned char)s->text[0]] = true;
    return ERR_OK;
}

/* Breadth first, so that a node's fail node is finished before it. */
static enum err link_nodes(struct literals *l) {
    uint16_t *queue = malloc(l->n_nodes * sizeof *queue);
    size_t head = 0, tail = 0;
    if (!queue)
        return ERR_NOMEM;
    queue[tail++] = 0;
    while (head < tail) {
        uint16_t at = queue[head++];
        for (size_t c = 0; c < l->classes; c++) {
            uint16_t *to = &l->next[at * l->classes + c];
            uint16_t back = at ? l->next[l->nodes[at].fail * l->classes + c] : 0;
            if (!*to) {
                *to = back;
                continue;
            }
            struct node *n = &l->nodes[*to];
            n->fail = back;
            n->report = l->nodes[back].length ? back : l->nodes[back].report;
            queue[tail++] = *to;
        }
    }
    free(queue);
    return ERR_OK;
}

enum err literals_build(struct literals *l) {
    size_t bytes = 1;
    l->classes = 1;
    for (size_t i = 0; i < l->n; i++)
        for (size_t k = 0; k < l->list[i].n; k++, bytes++)
            if (!l->class_of[(unsigned char)l->list[i].text[k]])
                l->class_of[(unsigned char)l->list[i].text[k]] = (uint8_t)l->classes++;
    if (bytes > LITERALS_NODES_MAX)
        bytes = LITERALS_NODES_MAX;
    l->nodes = calloc(bytes, sizeof *l->nodes);
    l->next = calloc(bytes * l->classes, sizeof *l->next);
    if (!l->nodes || !l->next)
        return ERR_NOMEM;
    l->n_nodes = 1;
    for (size_t i = 0; i < l->n; i++) {
        enum err e = insert(l, &l->list[i]);
        if (e)
            return e;
    }
    return link_nodes(l);
}

void literals_scan(const struct literals *l, struct str text,
                   void (*hit)(void *ctx, uint32_t id, size_t from, size_t to), void *ctx) {
    uint16_t at = 0;
    if (!l->n)
        return;
    for (size_t i = 0; i < text.n; i++) {
        if (!at && !l->begins[(unsigned char)text.p[i]])
            continue;
        at = l->next[at * l->classes + l->class_of[(unsigned char)text.p[i]]];
        for (uint16_t r = l->nodes[at].length ? at : l->nodes[at].report; r; r = l->nodes[r].report)
            hit(ctx, l->nodes[r].id, i + 1 - l->nodes[r].length, i + 1);
    }
}

size_t literals_step(const struct literals *l, uint16_t *node, char c, size_t to,
                     void (*hit)(void *ctx, uint32_t id, size_t from, size_t to), void *ctx) {
    if (!l->n || (!*node && !l->begins[(unsigned char)c]))
        return 0;
    uint16_t at = l->next[*node * l->classes + l->class_of[(unsigned char)c]];
    for (uint16_t r = l->nodes[at].length ? at : l->nodes[at].report; r; r = l->nodes[r].report)
        hit(ctx, l->nodes[r].id, to > l->nodes[r].length ? to - l->nodes[r].length : 0, to);
    *node = at;
    return l->nodes[at].depth;
}
