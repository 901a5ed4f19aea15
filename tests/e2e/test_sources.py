"""Where documents come from: uploads, `parley ingest`, folders, pages, sitemaps, feeds, and what must not be reached."""

import http.server
import json
import os
import subprocess
import threading

import pytest

import samples
from harness import BINARY, Client, Program, wait_for
from mock_upstream import MockUpstream


class Site(http.server.BaseHTTPRequestHandler):
    """A small site; what it was asked is in `asked`."""

    asked = []
    pages = {}
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        Site.asked.append((self.path, dict(self.headers)))
        page = Site.pages.get(self.path)
        if page == "endless":
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.close_connection = True
            try:
                while True:
                    self.wfile.write(b"more and more " * 10000)
            except OSError:
                return
        if callable(page):
            page = page(self)
        status, headers, body = page or (404, {}, b"")
        if headers.get("ETag") and self.headers.get("If-None-Match") == headers["ETag"]:
            status, body = 304, b""
        self.send_response(status)
        for k, v in {"Content-Type": "text/html", **headers}.items():
            self.send_header(k, v)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def program():
    with MockUpstream() as mock, Program(upstream=mock.url, args=["--source-delay-ms", "1", "--max-document-bytes", "2097152"]) as p:
        p.admin = p.setup()
        p.user, p.mock = p.sign_up("ann"), mock
        yield p


@pytest.fixture(autouse=True)
def fresh():
    Site.asked.clear()
    Site.pages = {}


def page(text, **headers):
    return (200, {k.replace("_", "-"): v for k, v in headers.items()}, f"<html><title>{text}</title><p>{text}</p></html>".encode())


def documents(client):
    return {d["uri"] or d["source_name"]: d for d in client.get("/api/v1/documents?limit=200")["data"]}


def source(client, **fields):
    return client.post("/api/v1/sources", {"interval_minutes": 0, **fields})


def ran(client, s, times=1):
    """The source after its run."""
    before = s["last_at"]

    def look():
        now = client.get(f"/api/v1/sources/{s['source_id']}")
        return now if now["last_at"] != before and not now["running"] else None

    return wait_for(look, "the run")


def again(client, s):
    client.post(f"/api/v1/sources/{s['source_id']}/run")
    return ran(client, s)


def test_upload_of_a_file(program):
    status, _, body = program.user.raw("POST", "/api/v1/documents?source_name=plan.docx", samples.docx(),
                                       {"Content-Type": "application/vnd.openxmlformats-officedocument.wordprocessingml.document"})
    assert status == 201, body
    assert json.loads(body)["source_name"] == "plan.docx"


def test_page_is_fetched_once_and_asked_for_again_with_its_tag(program, site):
    Site.pages = {"/a": page("First", ETag='"one"')}
    s = ran(program.admin, source(program.admin, kind="url", location=site + "/a#part", allow_private=True))
    assert (s["last_error"], s["last_new"]) == (None, 1)
    assert site + "/a" in documents(program.admin)
    s = again(program.admin, s)
    assert (s["last_error"], s["last_new"]) == (None, 0)
    assert [h.get("If-None-Match") for p, h in Site.asked if p == "/a"] == [None, '"one"']
    Site.pages["/a"] = page("Second", ETag='"two"')
    s = again(program.admin, s)
    assert s["last_new"] == 1
    Site.pages = {}
    s = again(program.admin, s)
    assert "gone" in s["last_error"] and site + "/a" not in documents(program.admin)


def test_private_addresses_are_out_of_reach(program, site):
    Site.pages = {"/a": page("Secret")}
    port = site.rsplit(":", 1)[1]
    for address in (site, f"http://localhost:{port}", f"http://[::ffff:127.0.0.1]:{port}", f"http://0x7f000001:{port}", f"http://2130706433:{port}",
                    f"http://0.0.0.0:{port}", f"http://[::1]:{port}", "http://169.254.169.254", f"http://[::]:{port}"):
        s = ran(program.user, source(program.user, kind="url", location=address + "/a"))
        assert "not of the open internet" in s["last_error"], (address, s["last_error"])
    assert Site.asked == []


def test_what_lies_inside_needs_an_administrator(program, tmp_path):
    for body in ({"kind": "folder", "location": str(tmp_path)}, {"kind": "url", "location": "http://a/", "allow_private": True},
                 {"kind": "url", "location": "http://a/", "shared": True}):
        with pytest.raises(Exception) as e:
            program.user.post("/api/v1/sources", body)
        assert e.value.status == 403
    for body in ({"kind": "url", "location": "ftp://a/"}, {"kind": "url", "location": "file:///etc/passwd"}, {"kind": "folder", "location": "relative"}):
        with pytest.raises(Exception) as e:
            program.admin.post("/api/v1/sources", body)
        assert e.value.error["param"] == "location"
    own = source(program.admin, kind="url", location="http://127.0.0.1:1/", enabled=False)
    with pytest.raises(Exception) as e:
        program.user.get(f"/api/v1/sources/{own['source_id']}")
    assert e.value.status == 404


def test_sitemap_with_robots(program, site):
    site = site.replace("127.0.0.1", "localhost")  # what robots may read is kept for an hour, by host
    entry = "".join(f"<url><loc>{site}/p{i}</loc><lastmod>2026-0{i}-01</lastmod></url>" for i in (1, 2, 3))
    Site.pages = {
        "/robots.txt": (200, {}, b"User-agent: *\nDisallow: /p2\n"),
        "/index.xml": (200, {}, f"<sitemapindex><sitemap><loc>{site}/map.xml</loc></sitemap></sitemapindex>".encode()),
        "/map.xml": (200, {}, f"<urlset>{entry}<url><loc>http://elsewhere.example/x</loc></url></urlset>".encode()),
        "/p1": page("One"), "/p2": page("Two"), "/p3": page("Three"),
    }
    s = ran(program.admin, source(program.admin, kind="sitemap", location=site + "/index.xml", allow_private=True))
    found = documents(program.admin)
    assert s["last_new"] == 2, s["last_error"]
    assert site + "/p1" in found and site + "/p3" in found and site + "/p2" not in found
    assert "robots.txt" in s["last_error"] and s["last_new"] == 2
    assert "/p2" not in [p for p, _ in Site.asked]
    Site.asked.clear()
    again(program.admin, s)  # their dates have not changed: they are not even asked for
    assert "/p1" not in [p for p, _ in Site.asked]


def test_feed(program, site):
    Site.pages = {
        "/feed": (200, {"Content-Type": "application/rss+xml"}, f"<rss><channel><item><title>News one</title><link>{site}/n1</link></item></channel></rss>".encode()),
        "/n1": page("News"),
    }
    s = ran(program.admin, source(program.admin, kind="feed", location=site + "/feed", allow_private=True))
    assert (s["last_error"], s["last_new"]) == (None, 1)
    assert documents(program.admin)[site + "/n1"]["source_name"] == "News one"
    Site.pages["/feed"] = (200, {}, b"<html>not a feed</html>")
    assert "neither a sitemap nor a feed" in again(program.admin, s)["last_error"]


def test_bad_servers_cost_a_reason(program, site):
    Site.pages = {"/500": (500, {}, b""), "/endless": "endless", "/loop": (302, {"Location": "/loop"}, b""),
                  "/file": (302, {"Location": "file:///etc/passwd"}, b""), "/busy": (429, {"Retry-After": "3600"}, b"")}
    for path, word in (("/500", "HTTP 500"), ("/endless", "more than"), ("/loop", "redirect"), ("/file", "rotocol"), ("/busy", "later"), ("/none", "gone")):
        s = ran(program.admin, source(program.admin, kind="url", location=site + path, allow_private=True))
        assert word in s["last_error"], (path, s["last_error"])


def test_folder_is_watched(program, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.md").write_text("# A")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / ".hidden.md").write_text("# H")
    s = ran(program.admin, source(program.admin, kind="folder", location=str(tmp_path)))
    assert (s["last_error"], s["last_new"], s["last_seen"]) == (None, 1, 1)

    def name(*parts):
        return "file://" + os.path.join(str(tmp_path), *parts)

    (tmp_path / "sub" / "b.txt").write_text("B")
    wait_for(lambda: name("sub", "b.txt") in documents(program.admin), "the new file")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "c.txt").write_text("C")
    wait_for(lambda: name("new", "c.txt") in documents(program.admin), "the file in a new folder")
    (tmp_path / "a.md").unlink()
    wait_for(lambda: name("a.md") not in documents(program.admin), "the deletion")
    program.admin.call("DELETE", f"/api/v1/sources/{s['source_id']}?documents=true")
    assert not [u for u in documents(program.admin) if u.startswith(name())]


def test_search_services_are_asked_and_their_answers_kept(program, site):
    found = json.dumps({"results": [{"title": "Tides", "url": "https://example.org/t", "content": "High <b>tide</b> is at six."}]}).encode()
    Site.pages = {"/search?q=high%20tide&format=json": (200, {"Content-Type": "application/json"}, found), "/search?q=bad&format=json": (500, {}, b"")}
    with pytest.raises(Exception) as e:
        program.admin.post("/api/v1/sources", {"kind": "search", "location": site + "/search"})
    assert e.value.error["param"] == "location"
    s = program.admin.post("/api/v1/sources", {"kind": "search", "name": "Web", "location": site + "/search?q={query}&format=json", "allow_private": True,
                                               "settings": {"timeout_ms": 30000}})
    ask = f"/api/v1/sources/{s['source_id']}/search"
    for cached in (False, True):
        r = program.admin.post(ask, {"query": "high tide"})
        assert (r["data"], r["cached"], r["error"]) == ([{"rank": 1, "title": "Tides", "url": "https://example.org/t", "text": "High tide is at six."}], cached, None)
    assert len(Site.asked) == 1
    assert "HTTP 500" in program.admin.post(ask, {"query": "bad"})["error"]
    program.admin.call("PATCH", f"/api/v1/sources/{s['source_id']}", {"allow_private": False})
    assert "not of the open internet" in program.admin.post(ask, {"query": "other"})["error"]
    with pytest.raises(Exception) as e:
        program.user.post(ask, {"query": "x"})
    assert e.value.status == 404


def test_a_slow_search_service_costs_no_answer(program, site):
    going = threading.Event()
    Site.pages = {"/slow?q=When%20is%20low%20tide%20in%20Bergen%3F": lambda _: going.wait(300) and None}
    s = program.admin.post("/api/v1/sources", {"kind": "search", "name": "Slow", "location": site + "/slow?q={query}", "allow_private": True, "shared": True,
                                               "settings": {"timeout_ms": 200}})
    try:
        r = program.admin.post(f"/api/v1/sources/{s['source_id']}/search", {"query": "When is low tide in Bergen?"})
        assert r["data"] == [] and "in time" in r["error"]
        user = program.sign_up("slowpoke")
        _, message = user.say(user.conversation(), "When is low tide in Bergen?")
        assert message["status"] == "complete" and message["retrieved_docs"] == []
    finally:
        going.set()
        program.admin.call("DELETE", f"/api/v1/sources/{s['source_id']}")


def test_a_document_deleted_by_hand_stays_away(program, site):
    Site.pages = {"/d": page("Gone by hand")}
    s = ran(program.admin, source(program.admin, kind="url", location=site + "/d", allow_private=True))
    program.admin.call("DELETE", f"/api/v1/documents/{documents(program.admin)[site + '/d']['doc_id']}")
    Site.pages = {"/d": page("Changed")}
    again(program.admin, s)
    assert site + "/d" not in documents(program.admin)


def test_ingest_from_the_terminal(program, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "one.md").write_text("# One")
    (tmp_path / "docs" / "two.pdf").write_bytes(samples.report_pdf())
    (tmp_path / "docs" / "large.txt").write_bytes(b"x" * 3000000)

    def ingest(*args):
        return subprocess.run([BINARY, "ingest", "--data-dir", program.data, "--max-document-bytes", "2097152", "--no-wait", "--user", "ann", *args],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", timeout=300)

    r = ingest(str(tmp_path / "docs"))
    assert r.returncode == 0 and "2 new or changed, 0 unchanged, 1 refused" in r.stdout, r
    assert "large.txt: it has 2 MB; at most 2 MB" in r.stderr
    assert "0 new or changed, 2 unchanged" in ingest(str(tmp_path / "docs")).stdout
    (tmp_path / "docs" / "one.md").write_text("# Changed")
    assert "1 new or changed, 1 unchanged" in ingest(str(tmp_path / "docs")).stdout
    assert "file://" + str(tmp_path / "docs" / "one.md") in documents(program.user)
    assert ingest(str(tmp_path / "nothing")).returncode == 3


def test_files_become_searchable_or_say_why_not(program):
    user = program.sign_up("ben")
    kinds = {"good.pdf": samples.report_pdf(), "scan.pdf": samples.pdf([[]]), "locked.pdf": samples.pdf([[(12, "x")]], password="p"),
             "plan.docx": samples.docx(), "cut.docx": samples.docx()[:300], "photo.png": b"\x89PNG\r\n\x1a\n" + b"\0" * 50}
    for name, content in kinds.items():
        status, _, body = user.raw("POST", f"/api/v1/documents?source_name={name}", content, {"Content-Type": "application/octet-stream"})
        assert status == 201, body
    found = wait_for(lambda: (d := documents(user)) and all(x["status"] != "pending" for x in d.values()) and d, "the index")
    assert {n: d["status"] for n, d in found.items()} == {"good.pdf": "indexed", "plan.docx": "indexed", "scan.pdf": "failed", "locked.pdf": "failed",
                                                          "cut.docx": "failed", "photo.png": "failed"}
    assert "scan" in found["scan.pdf"]["error"] and "password" in found["locked.pdf"]["error"]
    assert found["good.pdf"]["title"] == "Report 2026" and found["good.pdf"]["chunk_count"] >= 1
    assert "an example that goes on" in user.get(f"/api/v1/documents/{found['good.pdf']['doc_id']}")["content"]


def test_a_question_is_answered_with_what_a_search_found(program, site):
    found = json.dumps({"results": [{"title": "Tides", "url": "https://example.org/t", "content": "High tide in Bergen is at six."}]}).encode()
    first, follow_up = "/s?q=When%20is%20high%20tide%20in%20Bergen%3F", "/s?q=When%20is%20high%20tide%20in%20Bergen%3F%20and%20in%20winter%3F"
    Site.pages = {path: (200, {"Content-Type": "application/json"}, found) for path in (first, follow_up)}
    s = program.admin.post("/api/v1/sources", {"kind": "search", "name": "Web", "location": site + "/s?q={query}", "allow_private": True, "shared": True,
                                               "settings": {"timeout_ms": 30000}})
    user = program.sign_up("cleo")
    _, message = user.say(user.conversation(), "When is high tide in Bergen?")
    web = [d for d in message["retrieved_docs"] if d["doc_id"] is None]
    assert [(d["source_name"], d["title"], d["uri"], d["text"]) for d in web] == [("Web", "Tides", "https://example.org/t", "High tide in Bergen is at six.")]
    body = {"model": "travel-assistant", "messages": [{"role": "user", "content": "When is high tide in Bergen?"}]}
    answer = user.post("/v1/chat/completions", body)  # a role on the compatible API, too
    assert [(d["n"], d["doc_id"], d["text"]) for d in answer["parley"]["retrieved_docs"]] == [(1, None, "High tide in Bergen is at six.")]
    assert "<passages>" in program.mock.chats()[-1]["messages"][-1]["content"]
    Site.asked.clear()
    c = user.conversation()  # a follow-up is asked with the question before it, on both APIs
    user.say(c, "When is high tide in Bergen?")
    user.say(c, "and in winter?")
    user.post("/v1/chat/completions", {**body, "messages": [*body["messages"], {"role": "assistant", "content": "At six."}, {"role": "user", "content": "and in winter?"}]})
    assert [p for p, _ in Site.asked] == [follow_up]  # and the second time its answer was kept
    Site.asked.clear()
    user.post("/v1/chat/completions", {**body, "messages": [{"role": "user", "content": "thanks!"}]})
    user.say(user.conversation(), "thanks!")
    assert Site.asked == []  # nobody is told of small talk
    program.admin.call("PATCH", f"/api/v1/sources/{s['source_id']}", {"shared": False})
    _, message = user.say(user.conversation(), "When is high tide in Bergen?")
    assert [d for d in message["retrieved_docs"] if d["doc_id"] is None] == []
