/* Documents given as files: bytes or forms, new versions, and who may put them where. */
#include "unit/api/api_fixture.h"

static struct reply upload(const char *query, const char *who, const char *type, const char *body) {
    char headers[700], path[300];
    snprintf(headers, sizeof headers, "%sContent-Type: %s\r\n", who, type);
    snprintf(path, sizeof path, "/api/v1/documents%s", query);
    return call_raw("POST", path, headers, body, strlen(body));
}

static void refuse(struct reply r, int status, const char *code, const char *param) {
    expect_error(r, status, code, param);
}

static void upload_ofBytes_waitsToBeRead(void **state) {
    (void)state;
    struct person p = make_admin();
    struct reply r = upload("?source_name=a%20report.pdf&uri=file%3A%2F%2F%2Fa", p.who,
                            "application/pdf", "%PDF-1.4 bytes");
    expect(r, 201);
    assert_string_equal(text_at(&r, "source_name"), "a report.pdf");
    assert_string_equal(text_at(&r, "status"), "pending");
    assert_string_equal(text_at(&r, "uri"), "file:///a");
    char id[64];
    snprintf(id, sizeof id, "%s", text_at(&r, "doc_id"));
    reply_free(&r);
    r = upload("?source_name=a&uri=file%3A%2F%2F%2Fa", p.who, "application/pdf", "%PDF-1.4 bytes");
    expect(r, 200); /* nothing changed */
    assert_string_equal(text_at(&r, "doc_id"), id);
    reply_free(&r);
    r = upload("?source_name=a&uri=file%3A%2F%2F%2Fa", p.who, "application/pdf", "%PDF-1.4 other");
    expect(r, 201);
    assert_string_equal(text_at(&r, "doc_id"), id);
    reply_free(&r);
}

static void upload_ofAForm_takesItsFileAndFields(void **state) {
    (void)state;
    struct person p = make_admin();
    struct reply r =
        upload("", p.who, "multipart/form-data; boundary=xx",
               "--xx\r\nContent-Disposition: form-data; name=shared\r\n\r\ntrue\r\n"
               "--xx\r\nContent-Disposition: form-data; name=metadata\r\n\r\n{\"tags\":[\"a\"]}\r\n"
               "--xx\r\nContent-Disposition: form-data; name=f; filename=\"C:\\dir\\n.txt\"\r\n"
               "Content-Type: text/plain\r\n\r\nhello\r\n--xx--\r\n");
    expect(r, 201);
    assert_string_equal(text_at(&r, "source_name"), "n.txt");
    assert_non_null(strstr(r.body, "\"shared\":true"));
    assert_non_null(strstr(r.body, "\"tags\":[\"a\"]"));
    reply_free(&r);
}

static void upload_ofJsonWithAName_isAFile(void **state) {
    (void)state;
    struct person p = make_admin();
    struct reply r = upload("?source_name=data.json", p.who, "application/json", "{\"a\":1}");
    expect(r, 201);
    reply_free(&r);
}

static void upload_thatIsWrong_saysWhat(void **state) {
    (void)state;
    struct person p = make_admin();
    refuse(upload("", p.who, "text/plain", "x"), 400, "invalid_value", "source_name");
    refuse(upload("?source_name=a", p.who, "text/plain", ""), 400, "invalid_value", "source_name");
    refuse(upload("?source_name=a&metadata=%5B%5D", p.who, "text/plain", "x"), 400, "invalid_value",
           "metadata");
    refuse(upload("", p.who, "multipart/form-data; boundary=xx", "nothing"), 400, "invalid_value",
           "form");
    refuse(upload("", p.who, "multipart/form-data; boundary=xx",
                  "--xx\r\nContent-Disposition: form-data; name=odd\r\n\r\n1\r\n--xx--"),
           400, "unknown_field", "form");
    refuse(upload("?source_name=a&collection_id=0190a000-0000-7000-8000-00000000000a", p.who,
                  "text/plain", "x"),
           404, "not_found", "collection_id");
}

static void upload_toOthersPlaces_needsAnAdministrator(void **state) {
    (void)state;
    make_admin();
    struct person p = make_user("ann");
    refuse(upload("?source_name=a&shared=true", p.who, "text/plain", "x"), 403, "forbidden",
           "shared");
    refuse(upload("?source_name=a&collection_id=00000000-0000-7000-8000-000000000001", p.who,
                  "text/plain", "x"),
           403, "forbidden", "collection_id");
}

#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(upload_ofBytes_waitsToBeRead),
        T(upload_ofAForm_takesItsFileAndFields),
        T(upload_ofJsonWithAName_isAFile),
        T(upload_thatIsWrong_saysWhat),
        T(upload_toOthersPlaces_needsAnAdministrator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
