/* See entities.h. */
#include "api/entities.h"

void entity_user(struct buf *b, const struct user *u) {
    out_open(b, NULL, '{');
    out_id(b, "user_id", &u->user_id);
    out_str(b, "username", u->username);
    out_str(b, "email", u->email);
    out_time(b, "created_at", u->created_at);
    out_time(b, "last_login_at", u->last_login_at);
    out_raw(b, "preferences", u->preferences.n ? u->preferences : STR("{}"));
    out_bool(b, "is_admin", u->is_admin);
    out_bool(b, "disabled", u->disabled);
    out_close(b, '}');
}

void entity_key(struct buf *b, const struct api_key *k, const char *secret) {
    out_open(b, NULL, '{');
    out_id(b, "key_id", &k->key_id);
    out_str(b, "name", k->name);
    out_str(b, "prefix", k->prefix);
    out_time(b, "created_at", k->created_at);
    out_time(b, "last_used_at", k->last_used_at);
    out_time(b, "revoked_at", k->revoked_at);
    if (secret)
        out_strz(b, "key", secret);
    out_close(b, '}');
}

void entity_role(struct buf *b, const struct role *r) {
    char slug[ROLE_SLUG_SIZE];
    role_slug(r->name, slug, sizeof slug);
    out_open(b, NULL, '{');
    out_id(b, "role_id", &r->role_id);
    out_str(b, "name", r->name);
    out_strz(b, "slug", slug);
    out_str(b, "description", r->description.p ? r->description : STR(""));
    out_str(b, "system_prompt", r->system_prompt);
    out_int(b, "version", r->version);
    out_text_or_null(b, "model", r->model);
    if (r->temperature < 0)
        out_null(b, "temperature");
    else
        out_num(b, "temperature", r->temperature);
    if (r->top_p < 0)
        out_null(b, "top_p");
    else
        out_num(b, "top_p", r->top_p);
    if (r->max_tokens <= 0)
        out_null(b, "max_tokens");
    else
        out_int(b, "max_tokens", r->max_tokens);
    out_raw(b, "stop", r->stop.n ? r->stop : STR("[]"));
    out_raw(b, "starter_questions", r->starter_questions.n ? r->starter_questions : STR("[]"));
    out_time(b, "created_at", r->created_at);
    out_time(b, "updated_at", r->updated_at);
    out_time(b, "retired_at", r->retired_at);
    out_close(b, '}');
}

void entity_conversation(struct buf *b, const struct conversation *c,
                         const struct conversation_hit *hit) {
    out_open(b, NULL, '{');
    out_id(b, "conversation_id", &c->conversation_id);
    out_id(b, "user_id", &c->user_id);
    out_time(b, "created_at", c->created_at);
    out_time(b, "last_updated_at", c->last_updated_at);
    out_id(b, "assistant_role_id", &c->assistant_role_id);
    out_strz(b, "status", conversation_status_name(c->status));
    out_str(b, "title", c->title.p ? c->title : STR(""));
    out_id(b, "current_message_id", &c->current_message_id);
    out_str(b, "summary", c->summary.p ? c->summary : STR(""));
    if (hit) {
        out_str(b, "snippet", hit->snippet);
        out_id(b, "snippet_message_id", &hit->snippet_message);
    }
    out_close(b, '}');
}

static void feedback_fields(struct buf *b, const struct feedback *f) {
    out_id(b, "feedback_id", &f->feedback_id);
    out_id(b, "message_id", &f->message_id);
    out_id(b, "user_id", &f->user_id);
    out_strz(b, "rating", rating_name(f->rating));
    out_text_or_null(b, "comment", f->comment);
    out_raw(b, "reasons", f->reasons.n ? f->reasons : STR("[]"));
    out_time(b, "created_at", f->created_at);
    out_time(b, "updated_at", f->updated_at);
}

void entity_feedback(struct buf *b, const struct feedback *f) {
    out_open(b, NULL, '{');
    feedback_fields(b, f);
    out_close(b, '}');
}

void entity_feedback_row(struct buf *b, const struct feedback_row *r) {
    out_open(b, NULL, '{');
    feedback_fields(b, &r->f);
    out_str(b, "username", r->username);
    out_id(b, "conversation_id", &r->conversation_id);
    out_id(b, "assistant_role_id", &r->role_id);
    out_text_or_null(b, "role_name", r->role_name);
    if (r->role_version > 0)
        out_int(b, "role_version", r->role_version);
    else
        out_null(b, "role_version");
    out_text_or_null(b, "model", r->model);
    out_str(b, "question", r->question.p ? r->question : STR(""));
    out_str(b, "answer", r->answer.p ? r->answer : STR(""));
    out_close(b, '}');
}

void entity_document(struct buf *b, const struct document *d) {
    out_open(b, NULL, '{');
    out_id(b, "doc_id", &d->doc_id);
    out_id(b, "user_id", &d->user_id);
    out_bool(b, "shared", d->shared);
    out_str(b, "source_name", d->source_name);
    if (d->content.p)
        out_str(b, "content", d->content);
    out_int(b, "content_bytes", (int64_t)d->content_bytes);
    out_raw(b, "metadata", d->metadata.n ? d->metadata : STR("{}"));
    out_time(b, "created_at", d->created_at);
    out_time(b, "indexed_at", d->indexed_at);
    out_id(b, "collection_id", &d->collection_id);
    out_strz(b, "status", document_status_name(d->status));
    out_text_or_null(b, "error", d->error);
    out_bool(b, "updating", d->updating);
    out_text_or_null(b, "title", d->title);
    out_str(b, "media_type", d->media_type.n ? d->media_type : STR("text/plain"));
    out_text_or_null(b, "uri", d->uri);
    out_time(b, "updated_at", d->updated_at);
    out_int(b, "chunk_count", d->chunk_count);
    if (d->safety.n)
        out_raw(b, "safety", d->safety);
    else
        out_null(b, "safety");
    out_close(b, '}');
}

void entity_source(struct buf *b, const struct source *s) {
    out_open(b, NULL, '{');
    out_id(b, "source_id", &s->source_id);
    out_id(b, "user_id", &s->user_id);
    out_str(b, "name", s->name);
    out_strz(b, "kind", source_kind_name(s->kind));
    out_str(b, "location", s->location);
    out_id(b, "collection_id", &s->collection_id);
    out_bool(b, "shared", s->shared);
    out_int(b, "interval_minutes", s->interval_minutes);
    out_bool(b, "allow_private", s->allow_private);
    out_bool(b, "enabled", s->enabled);
    out_raw(b, "settings", s->settings.n ? s->settings : STR("{}"));
    out_time(b, "created_at", s->created_at);
    out_time(b, "next_at", s->next_at);
    out_time(b, "last_at", s->last_at);
    out_text_or_null(b, "last_error", s->last_error);
    out_int(b, "last_new", s->last_new);
    out_int(b, "last_seen", s->last_seen);
    out_bool(b, "running", s->running);
    out_close(b, '}');
}

void entity_list_open(struct buf *b) {
    out_open(b, NULL, '{');
    out_open(b, "data", '[');
}

void entity_list_close(struct buf *b, const struct uuid *last) {
    out_close(b, ']');
    out_id(b, "next", last);
    out_close(b, '}');
}

struct uuid entity_next(const struct page *p, size_t n, const struct uuid *last) {
    return n && n >= (size_t)p->limit ? *last : (struct uuid){0};
}
