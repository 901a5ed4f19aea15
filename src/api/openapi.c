/* /openapi.json (OpenAPI 3.1), written from the route table and the schemas, once at start. */
#include <stdio.h>

#include "api/handlers.h"
#include "api/schemas.h"

static const char *const methods[] = {[HTTP_GET] = "get",
                                      [HTTP_POST] = "post",
                                      [HTTP_PUT] = "put",
                                      [HTTP_PATCH] = "patch",
                                      [HTTP_DELETE] = "delete"};

/* "{model*}" is our way to write a rest with slashes; OpenAPI has none, so it becomes "{model}". */
static void write_path_key(struct buf *b, const char *path) {
    out_item(b);
    buf_addc(b, '"');
    for (; *path; path++)
        if (*path != '*')
            buf_addc(b, *path);
    buf_addz(b, "\":");
}

static void write_path_parameters(struct buf *b, const char *path) {
    struct str rest = str_from(path);
    while (rest.p) {
        struct str segment = str_cut(&rest, '/');
        if (segment.n < 3 || segment.p[0] != '{')
            continue;
        bool star = segment.p[segment.n - 2] == '*';
        out_open(b, NULL, '{');
        out_str(b, "name", str_sub(segment, 1, segment.n - (star ? 3 : 2)));
        out_strz(b, "in", "path");
        out_bool(b, "required", true);
        out_raw(b, "schema",
                star ? STR("{\"type\":\"string\",\"minLength\":1}")
                     : STR("{\"type\":\"string\",\"format\":\"uuid\"}"));
        out_close(b, '}');
    }
}

static void write_query_parameters(struct buf *b, const struct schema *q) {
    for (const struct field *f = q ? q->fields : NULL; f && f->name; f++) {
        out_open(b, NULL, '{');
        out_strz(b, "name", f->name);
        out_strz(b, "in", "query");
        if (f->about)
            out_strz(b, "description", f->about);
        out_key(b, "schema");
        schema_write_field(b, f);
        out_close(b, '}');
    }
}

static void write_schema_content(struct buf *b, const struct schema *s) {
    out_open(b, "application/json", '{');
    out_key(b, "schema");
    buf_addf(b, "{\"$ref\":\"#/components/schemas/%s\"}", s->name);
    out_close(b, '}');
}

static void write_body(struct buf *b, const struct schema *s, bool files) {
    bool required = false;
    for (const struct field *f = s->fields; f->name; f++)
        required = required || (f->flags & FIELD_REQUIRED);
    out_open(b, "requestBody", '{');
    out_bool(b, "required", required);
    out_open(b, "content", '{');
    write_schema_content(b, s);
    if (files) {
        out_raw(b, "application/octet-stream", STR("{}"));
        out_raw(b, "multipart/form-data", STR("{\"schema\":{\"type\":\"object\"}}"));
    }
    out_close(b, '}');
    out_close(b, '}');
}

static void write_response(struct buf *b, const char *status, const char *about,
                           const struct schema *s, const char *media) {
    out_open(b, status, '{');
    out_strz(b, "description", about);
    if (s || media) {
        out_open(b, "content", '{');
        if (s)
            write_schema_content(b, s);
        if (media)
            out_raw(b, media, STR("{}")); /* OpenAPI 3.1 cannot describe a stream */
        out_close(b, '}');
    }
    out_close(b, '}');
}

static void write_responses(struct buf *b, const struct route *r) {
    char status[8];
    /* A stream that answers a POST begins with 200; only the JSON form says 201. */
    bool stream_differs = r->media && r->answer && r->status != 200;
    snprintf(status, sizeof status, "%d", r->status);
    out_open(b, "responses", '{');
    if (stream_differs)
        write_response(b, "200", "A stream of events", NULL, r->media);
    write_response(b, status, r->summary, r->answer, stream_differs ? NULL : r->media);
    if (r->answer == &schema_ready_answer)
        write_response(b, "503", "Not ready, with the reasons", r->answer, NULL);
    write_response(b, "default", "An error", &schema_error_answer, NULL);
    out_close(b, '}');
}

static void write_security(struct buf *b, enum route_auth auth) {
    if (auth == ROUTE_PUBLIC)
        out_raw(b, "security", STR("[]"));
    else if (auth == ROUTE_SIGNUP || auth == ROUTE_METRICS)
        out_raw(b, "security", STR("[{},{\"session\":[]},{\"key\":[]}]"));
}

static void write_operation(struct buf *b, const struct route *r) {
    out_open(b, methods[r->method], '{');
    out_strz(b, "operationId", r->id);
    out_strz(b, "summary", r->summary);
    if (r->auth == ROUTE_ADMIN)
        out_strz(b, "description", "Needs an administrator.");
    write_security(b, r->auth);
    out_open(b, "parameters", '[');
    write_path_parameters(b, r->path);
    write_query_parameters(b, r->query);
    out_close(b, ']');
    if (r->body)
        write_body(b, r->body, (r->flags & ROUTE_FILES) != 0);
    write_responses(b, r);
    out_close(b, '}');
}

static bool path_is_first(size_t at) {
    for (size_t i = 0; i < at; i++)
        if (strcmp(api_routes[i].path, api_routes[at].path) == 0)
            return false;
    return true;
}

static void write_paths(struct buf *b) {
    out_open(b, "paths", '{');
    for (size_t i = 0; i < api_routes_count; i++) {
        if (!path_is_first(i))
            continue;
        write_path_key(b, api_routes[i].path);
        out_open(b, NULL, '{');
        for (size_t j = i; j < api_routes_count; j++)
            if (strcmp(api_routes[j].path, api_routes[i].path) == 0)
                write_operation(b, &api_routes[j]);
        out_close(b, '}');
    }
    out_close(b, '}');
}

enum err openapi_write(struct buf *b) {
    out_open(b, NULL, '{');
    out_strz(b, "openapi", "3.1.0");
    out_open(b, "info", '{');
    out_strz(b, "title", "Parley");
    out_strz(b, "version", PARLEY_VERSION);
    out_strz(b, "description",
             "A self-hosted assistant: accounts, roles, conversations, messages, feedback, "
             "documents under "
             "/api/v1, and an OpenAI-compatible API under /v1.");
    out_close(b, '}');
    out_raw(b, "servers", STR("[{\"url\":\"/\"}]"));
    out_raw(b, "security", STR("[{\"session\":[]},{\"key\":[]}]"));
    write_paths(b);
    out_open(b, "components", '{');
    out_raw(b, "securitySchemes",
            STR("{\"session\":{\"type\":\"apiKey\",\"in\":\"cookie\",\"name\":\"" AUTH_COOKIE
                "\"},\"key\":{\"type\":\"http\",\"scheme\":\"bearer\"}}"));
    out_open(b, "schemas", '{');
    for (const struct schema *const *s = schemas_all; *s; s++) {
        out_key(b, (*s)->name);
        schema_write(b, *s);
    }
    out_close(b, '}');
    out_close(b, '}');
    out_close(b, '}');
    return buf_err(b);
}
