/* Chunks: the pieces of a document that are embedded, found and cited.
 *
 * A chunk is one range of the document's text. Chunks stand in its order and do not overlap; of
 * what is not white space only headings are left out, whose words stand in the path. A chunk ends
 * where a section ends, unless the section is small; else between paragraphs, sentences, and only
 * in a sentence of more than a chunk's length between words. A table or a piece of code that fits
 * is never cut; a longer one is cut between rows (its head is then repeated in front of what is
 * embedded) or between lines, at empty ones when there are any.
 *
 * Sizes are the embedding model's tokens, heading path and table head included. The same text and
 * options give the same chunks. Runs on any thread; about 20 MB of text a second. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "text/doc_text.h"

struct chunk {
    struct str text;           /* borrowed: doc->text from `from` to `to` */
    size_t from, to;           /* bytes */
    size_t char_from, char_to; /* the same in characters (code points) */
    int page_from, page_to;    /* 0 = the document has no pages */
    struct str heading_path;   /* "Guide › Install › Linux", arena; "" = none */
    struct str lead;           /* the head of a table that was cut, borrowed; "" else */
    int tokens;                /* of what chunk_embed_text() makes */
    bool is_table, is_code;    /* all of it is */
};

struct chunk_options {
    int max_tokens; /* 0 = 200: MiniLM was trained on texts of up to 256 */
    int min_tokens; /* a section below this is joined with the next one; 0 = max_tokens / 4 */
    /* The tokens of a text, without the ones that a model puts at both ends; NULL = chunk_estimate.
     * Called often: for each paragraph, or sentence of a long one. */
    int (*count)(void *ctx, struct str text);
    void *ctx;
};

#define CHUNKS_MAX ((size_t)200000) /* of one document; past it ERR_TOO_LARGE */

/* doc has the form that text/doc_text.h promises. Everything is put into the arena. ERR_NOMEM,
 * ERR_TOO_LARGE. A document without a word has no chunks. */
enum err chunk_document(const struct doc_text *doc, const struct chunk_options *o, struct arena *a,
                        struct chunk **ret, size_t *ret_n) ERR_CHECK;

/* What is embedded: title and path (where they are not the same), the table's head, the text. */
void chunk_embed_text(struct buf *b, const struct doc_text *doc, const struct chunk *c);

/* WordPiece tokens of a text, without a vocabulary. Against the vocabulary of all-MiniLM-L6-v2 it
 * gives 0.99 to 1.06 of the true count for English prose (four sets of abstracts and articles),
 * 0.97 for Markdown, 0.91 for source code. It counts each character of Chinese, Japanese and Korean
 * as one, as the BERT tokenizer does. */
int chunk_estimate(struct str text);
