"""What is wrong gets the right status and an error that says what to do; nothing is half written."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import ApiError, Client

MISSING = "01890000-0000-7000-8000-000000000000"


@pytest.fixture
def conversation(user):
    return user.conversation()


def check_error(status, text, expected, param=None):
    body = json.loads(text)
    assert status == expected, (status, text[:300])
    error = body["error"]
    assert set(error) >= {"message", "type", "param", "code"} and error["message"] and error["type"]
    if param:
        assert error["param"] == param, error
    return error


@pytest.mark.parametrize("body,param", [
    (b"{", None), (b"", None), (b"[]", None), (b'"text"', None), (b"{}", "content"), (b'{"content": 5}', "content"),
    (b'{"content": ""}', "content"), (b'{"content": null}', "content"), (b'{"content": "a\\u0000b"}', "content"),
    (b'{"content": "hi", "colour": "red"}', "colour"), (b'{"content": "hi", "parent_id": "no-uuid"}', "parent_id"),
    (b'{"content": "\xff\xfe"}', None), (b'{"content": "\\ud800"}', None), (b"[" * 5000, None),
])
def test_a_malformed_turn_is_refused_and_nothing_is_written(user, conversation, body, param):
    status, _, text = user.raw("POST", f"/api/v1/conversations/{conversation}/messages", body)
    check_error(status, text, 400, param)
    assert user.get(f"/api/v1/conversations/{conversation}/messages")["data"] == []


def test_unknown_parent_is_refused(user, conversation):
    status, _, text = user.raw("POST", f"/api/v1/conversations/{conversation}/messages", {"content": "hi", "parent_id": MISSING})
    assert status in (400, 404)
    assert json.loads(text)["error"]["message"]
    assert user.get(f"/api/v1/conversations/{conversation}/messages")["data"] == []


def test_body_over_the_limit_is_413(user, conversation):
    status, _, text = user.raw("POST", f"/api/v1/conversations/{conversation}/messages", {"content": "x" * (2 << 20)})
    check_error(status, text, 413)


def test_prompt_longer_than_the_window_is_refused_with_numbers(user, conversation):
    status, _, text = user.raw("POST", f"/api/v1/conversations/{conversation}/messages", {"content": "The lake was calm in the morning. " * 3000})
    error = check_error(status, text, 400)
    assert error["code"] == "context_length_exceeded" and any(ch.isdigit() for ch in error["message"])
    assert user.get(f"/api/v1/conversations/{conversation}/messages")["data"] == []


@pytest.mark.parametrize("path", [f"/api/v1/conversations/{MISSING}", "/api/v1/conversations/nonsense",
                                  f"/api/v1/messages/{MISSING}", f"/api/v1/documents/{MISSING}", "/api/v1/nowhere"])
def test_unknown_ids_are_404(user, path):
    status, _, text = user.raw("GET", path)
    check_error(status, text, 404)


def test_wrong_method_is_405_and_wrong_type_415(user):
    status, headers, text = user.raw("PUT", "/api/v1/conversations", {})
    check_error(status, text, 405)
    assert "GET" in headers["Allow"]
    status, _, text = user.raw("POST", "/api/v1/conversations", b"a=b", {"Content-Type": "application/x-www-form-urlencoded"})
    check_error(status, text, 415)


def test_unknown_role_is_refused(user):
    status, _, text = user.raw("POST", "/api/v1/conversations", {"assistant_role_id": MISSING})
    assert status in (400, 404)
    assert json.loads(text)["error"]["param"] == "assistant_role_id"


def test_compatible_api_ignores_unknown_fields_and_knows_its_models(user, program):
    key = user.post("/api/v1/keys", {"name": "k"})["key"]
    c = Client(program.port, key=key)
    ok = {"model": "mock-chat", "messages": [{"role": "user", "content": "[say: ok]"}], "made_up": 1}
    assert c.post("/v1/chat/completions", ok)["choices"][0]["message"]["content"] == "ok"
    for change, param in [({"model": "nobody"}, "model"), ({"messages": []}, "messages"), ({"messages": "hi"}, "messages"),
                          ({"temperature": 9}, "temperature"), ({"messages": [{"role": "cat", "content": "x"}]}, None)]:
        with pytest.raises(ApiError) as e:
            c.post("/v1/chat/completions", {**ok, **change})
        assert e.value.status in (400, 404) and e.value.error["message"]
        if param:
            assert e.value.error["param"] == param
    status, _, text = c.raw("POST", "/v1/chat/completions", b'{"model": ')
    check_error(status, text, 400)


def test_cross_site_requests_with_the_cookie_are_refused(user):
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        status, _, text = user.raw("POST", "/api/v1/conversations", {}, headers)
        check_error(status, text, 403)


@pytest.mark.parametrize("garbage", [
    b"\x00\x01\x02\x03\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nzz",
    b"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * 70000 + b"\r\n\r\n",
    b"POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
])
def test_garbage_on_the_wire_leaves_the_server_standing(program, garbage):
    with socket.create_connection(("127.0.0.1", program.port), 10) as s:
        s.sendall(garbage)
        s.shutdown(socket.SHUT_WR)
        s.settimeout(10)
        try:
            while s.recv(65536):
                pass
        except ConnectionError:
            pass
    assert program.status("/healthz") == 200


def test_security_headers_of_the_page(program):
    status, headers, text = Client(program.port).raw("GET", "/", headers={"Accept": "text/html"})
    assert status == 200 and b"<script" in text
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_sign_ins_at_once_with_one_key_are_one_session(user):
    body = {"username": user.user["username"], "password": "a long password"}

    def sign_in(_):
        c = Client(user.port)
        status, headers, _ = c.raw("POST", "/api/v1/sessions", body, headers={"Idempotency-Key": "at-once"})
        return status, headers["Set-Cookie"].split(";")[0]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(sign_in, range(4)))
    assert {status for status, _ in answers} == {201}
    cookies = {cookie for _, cookie in answers}
    assert len(cookies) == 1
    assert Client(user.port, cookie=cookies.pop()).get("/api/v1/users/me")["username"] == user.user["username"]
