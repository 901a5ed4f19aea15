/* Search, collections, and what roles ask of documents. */
#include "api/schemas.h"
#include "api/schemas_define.h"

static const char *const search_parts[] = {"both", "lexical", "vector", NULL};
static const char *const collection_kinds[] = {"private", "shared", "role", NULL};

SCHEMA(search_request, "SearchRequest", false, NULL, {"query", TEXT, REQ, .min = 1, .max = 4000},
       {"role_id", ID, NULLS, .about = "also what is bound to this role, with its weights"},
       {"history", LIST, .item = F_STRING, .max = 16, .item_max = 4000,
        .about = "what was asked before, oldest first: for follow-ups"},
       {"k", INT, .min = 1, .max = 200}, {"source", TEXT, .max = 200, .about = "part of its name"},
       {"type", TEXT, .max = 100}, {"tags", LIST, .item = F_STRING, .max = 16, .item_max = 100},
       {"date_from", TEXT, .max = 32,
        .about = "2026-03-01: not older, by the metadata's date, else by "
                 "when the document last changed"},
       {"date_to", TEXT, .max = 32, .about = "not newer; the whole day"},
       {"recency_days", INT, .min = 1, .max = 36500, .about = "newer documents count more"},
       {"parts", TEXT, .values = search_parts,
        .about = "lexical or vector: that part alone; both, the default"});
SCHEMA(search_hit, "SearchHit", true, NULL, {"doc_id", ID, REQ}, {"source_name", TEXT, REQ},
       {"text", TEXT, REQ}, {"char_from", INT, REQ}, {"char_to", INT, REQ}, {"rank", INT, REQ});
SCHEMA(search_answer, "SearchAnswer", false, NULL,
       {"data", LIST, REQ, .item = F_OBJECT, .ref = &schema_search_hit},
       {"relevant", BOOL, REQ, .about = "the best passages speak of what was asked"},
       {"trace", OBJ, REQ, .about = "what was done, what was left out, and how long it took"});
SCHEMA(collection_request, "CollectionRequest", false, NULL,
       {"name", TEXT, REQ, .min = 1, .max = 200},
       {"kind", TEXT, .values = collection_kinds,
        .about = "private (the default), shared or role; the last two need an administrator"});
SCHEMA(collection_entity, "Collection", false, NULL, {"collection_id", ID, REQ},
       {"name", TEXT, REQ}, {"kind", TEXT, REQ, .values = collection_kinds},
       {"documents", INT, REQ});
LIST_OF(collection_list_answer, "CollectionList", schema_collection_entity);
SCHEMA(role_documents, "RoleDocuments", false, "What a role asks of documents.",
       {"enabled", BOOL, .about = "documents are looked into"},
       {"grounded_only", BOOL, .about = "without a passage it says that it found nothing"},
       {"collections", LIST, .item = F_STRING, .max = 32, .item_max = 36,
        .about = "bound to the role; replaces those before"});
