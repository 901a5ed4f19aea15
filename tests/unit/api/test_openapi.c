/* /openapi.json: it parses, tells of every route, and every reference in it leads somewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "api/call.h"

static yyjson_doc *description(void) {
    struct buf b;
    yyjson_doc *d = NULL;
    struct errinfo ei;
    buf_init(&b, (size_t)4 << 20);
    assert_int_equal(openapi_write(&b), ERR_OK);
    enum err e = json_parse(buf_str(&b), &d, &ei);
    if (e)
        print_error("%s\n", ei.message);
    assert_int_equal(e, ERR_OK);
    buf_deinit(&b);
    return d;
}

static void openapi_everyRouteIsThere(void **state) {
    static const char *const methods[] = {[HTTP_GET] = "get",
                                          [HTTP_POST] = "post",
                                          [HTTP_PUT] = "put",
                                          [HTTP_PATCH] = "patch",
                                          [HTTP_DELETE] = "delete"};
    (void)state;
    yyjson_doc *d = description();
    json_val *paths = json_get(yyjson_doc_get_root(d), "paths");
    for (size_t i = 0; i < api_routes_count; i++) {
        char path[256];
        size_t n = 0;
        for (const char *p = api_routes[i].path; *p; p++)
            if (*p != '*')
                path[n++] = *p;
        path[n] = 0;
        json_val *op = json_get(json_get(paths, path), methods[api_routes[i].method]);
        assert_non_null(op);
        assert_string_equal(json_get_str(op, "operationId").p, api_routes[i].id);
        char status[8];
        snprintf(status, sizeof status, "%d", api_routes[i].status);
        assert_non_null(json_get(json_get(op, "responses"), status));
        if (api_routes[i].auth == ROUTE_USER || api_routes[i].auth == ROUTE_ADMIN)
            assert_null(json_get(op, "security")); /* the general rule: signed in */
    }
    assert_int_equal(yyjson_arr_size(json_get(yyjson_doc_get_root(d), "security")), 2);
    yyjson_doc_free(d);
}

static void check_refs(json_val *v, json_val *schemas) {
    size_t i, n;
    yyjson_val *key, *x;
    if (yyjson_is_obj(v)) {
        yyjson_obj_foreach(v, i, n, key, x) {
            if (strcmp(yyjson_get_str(key), "$ref") == 0) {
                assert_memory_equal(yyjson_get_str(x), "#/components/schemas/", 21);
                assert_non_null(json_get(schemas, yyjson_get_str(x) + 21));
            }
            check_refs(x, schemas);
        }
    } else if (yyjson_is_arr(v)) {
        yyjson_arr_foreach(v, i, n, x) check_refs(x, schemas);
    }
}

static void openapi_everyReferenceResolves(void **state) {
    (void)state;
    yyjson_doc *d = description();
    json_val *root = yyjson_doc_get_root(d);
    check_refs(root, json_get(json_get(root, "components"), "schemas"));
    yyjson_doc_free(d);
}

/* A route without a stage would answer 200 with nothing; a public one must say so by name. */
static void routes_table_isSound(void **state) {
    (void)state;
    for (size_t i = 0; i < api_routes_count; i++) {
        const struct route *r = &api_routes[i];
        assert_int_not_equal(r->stages[0].kind, STAGE_NONE);
        assert_true(r->status >= 200 && r->status < 300);
        assert_true(r->status == 204 || r->answer || r->media);
        for (size_t j = 0; j < i; j++)
            assert_false(r->method == api_routes[j].method &&
                         strcmp(r->path, api_routes[j].path) == 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openapi_everyRouteIsThere),
        cmocka_unit_test(openapi_everyReferenceResolves),
        cmocka_unit_test(routes_table_isSound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
