"""A disk that takes nothing: what is there is read, what is wrong is said, and writing goes on by itself when it can."""

import json
import os
import signal
import sqlite3
import subprocess

import pytest
from disk import SmallDisk
from harness import BINARY, SMALL_MODEL, ApiError, Client, Program, wait_for
from mock_upstream import MockUpstream


def parley(*args):
    return subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=300, check=False)


def reasons(client):
    status, _, text = client.raw("GET", "/readyz")
    assert status == 200  # it serves
    return json.loads(text)["reasons"]


def contents(client, conversation):
    return [m["content"] for m in client.get(f"/api/v1/conversations/{conversation}/messages")["data"]]


def refused(client, method, path, body):
    status, headers, text = client.raw(method, path, body)
    error = json.loads(text)["error"]
    assert status == 503 and error["code"] == "read_only" and headers["Retry-After"], (status, error)
    return error["message"]


def kill_all(program):
    """The server first: its log stays as it is. The supervisor stands still meanwhile, so that it starts no other."""
    pids = program.processes()
    for sig, name in ((signal.SIGSTOP, "supervisor"), (signal.SIGKILL, "server"), (signal.SIGKILL, "supervisor")):
        os.kill(pids[name], sig)
    program.child.wait()
    wait_for(lambda: not list(program.session()), "the end")
    assert os.path.getsize(os.path.join(program.data, "parley.db-wal")) > 0


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])  # the log was folded in, or stands beside the database
def test_a_read_only_disk_is_read_and_written_again_when_it_can_be(tmp_path, end):
    with SmallDisk(tmp_path) as disk, MockUpstream() as mock, Program(upstream=mock.url, data=disk.path) as p:
        c = p.setup()
        conversation = c.conversation()
        c.say(conversation, "The island [say: has a lighthouse]")
        doc = c.post("/api/v1/documents", {"source_name": "harbour.txt", "content": "The harbour has a crane."})["doc_id"]
        wait_for(lambda: c.get(f"/api/v1/documents/{doc}")["status"] == "indexed", "the document")
        wait_for(lambda: c.get("/api/v1/conversations?q=lighthouse")["data"], "the words in the index")
        before = contents(c, conversation)
        broken = c.stream("POST", f"/api/v1/conversations/{conversation}/messages", {"content": "and then [hold]"})
        answer = next(iter(broken))["data"]["message"]["message_id"]
        if end == signal.SIGTERM:
            c.post(f"/api/v1/messages/{answer}/stop")
            p.stop()
        else:
            kill_all(p)
        disk.read_only()

        p.start()
        assert "read-only" in reasons(c)[0]
        assert "read-only" in c.get("/api/v1/status")["notice"]
        assert contents(c, conversation)[:2] == before
        assert [x["conversation_id"] for x in c.get("/api/v1/conversations?q=lighthouse")["data"]] == [conversation]
        assert c.get(f"/api/v1/documents/{doc}")["source_name"] == "harbour.txt"
        found = wait_for(lambda: c.post("/api/v1/search", {"query": "crane", "parts": "lexical"})["data"], "the index")
        assert found[0]["doc_id"] == doc
        assert "can be read" in refused(c, "POST", f"/api/v1/conversations/{conversation}/messages", {"content": "hello"})
        refused(c, "POST", "/api/v1/conversations", {})
        refused(Client(p.port), "POST", "/api/v1/sessions", {"username": "admin", "password": "a long password"})
        state = c.get("/api/v1/store")
        assert not state["writable"] and "read-only" in state["reason"]

        said = parley("doctor", "--data-dir", disk.path, "--listen", f"127.0.0.1:{p.port}", "--upstream", mock.url)
        assert said.returncode == 1 and "mounted read-only" in said.stdout and "database   whole" in said.stdout, said.stdout
        copy = str(tmp_path / "copy.db")
        assert parley("backup", copy, "--data-dir", disk.path).returncode == 0 and os.path.getsize(copy) > 0
        assert "lighthouse" in parley("conversation", "export", "--user", "admin", "--data-dir", disk.path).stdout
        again = parley("user", "disable", "admin", "--data-dir", disk.path)
        assert again.returncode == 1 and "read-only" in again.stderr
        second = parley("serve", "--data-dir", disk.path, "--listen", "127.0.0.1:0", "--upstream", mock.url)
        assert second.returncode == 1 and "already" in second.stderr

        disk.writable()
        wait_for(lambda: not reasons(c), "writing")
        _, m = c.say(c.conversation(), "[say: room again]")
        assert m["content"] == "room again"
        if end == signal.SIGKILL:  # what was being written then goes on now
            mock.released.set()
            wait_for(lambda: c.get(f"/api/v1/messages/{answer}")["status"] == "complete", "the rest of the answer")
        p.stop(signal.SIGKILL)
        p.start()
        assert contents(c, conversation)[:2] == before and reasons(c) == []


def test_the_engine_answers_on_a_read_only_disk(tmp_path):
    with SmallDisk(tmp_path) as disk, Program(model=SMALL_MODEL, data=disk.path) as p:
        key = p.setup().post("/api/v1/keys", {"name": "k"})["key"]
        p.stop()
        disk.read_only()
        p.start()
        c = Client(p.port, key=key)
        r = c.post("/v1/chat/completions", {"model": SMALL_MODEL, "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]})
        assert r["usage"]["completion_tokens"] > 0
        p.stop()
        disk.writable()


def test_a_database_that_was_closed_is_served_from_a_full_disk(mock, tmp_path):
    with SmallDisk(tmp_path) as disk, Program(upstream=mock.url, data=disk.path) as p:
        c = p.setup()
        conversation = c.conversation()
        c.say(conversation, "before [say: kept]")
        p.stop()  # no log, no index of it: to open it for writing needs room
        disk.fill()
        p.start()
        assert "disk is full" in reasons(c)[0]
        assert contents(c, conversation) == ["before [say: kept]", "kept"]
        with pytest.raises(ApiError) as e:
            c.post("/api/v1/conversations", {})
        assert e.value.status == 507 and e.value.error["code"] == "disk_full"
        disk.empty()
        wait_for(lambda: not reasons(c), "room again")
        assert c.say(conversation, "[say: room again]")[1]["content"] == "room again"


def test_the_first_accounts_link_is_there_once_a_full_disk_has_room(mock, tmp_path):
    with SmallDisk(tmp_path) as disk, Program(upstream=mock.url, data=disk.path) as p:
        link = os.path.join(disk.path, "setup-link")
        wait_for(lambda: os.path.exists(link), "the link")
        p.stop()
        os.unlink(link)
        disk.fill()
        p.start()
        assert "disk is full" in reasons(Client(p.port))[0] and not os.path.exists(link)
        disk.empty()
        c = p.setup()  # waits for the link
        assert c.get("/api/v1/users/me")["is_admin"]
        wait_for(lambda: not os.path.exists(link), "its end once it was used")
        assert p.log().count("one-time link") == 2  # said at each start, though late at the second


def make_older(path):
    """The database as the Parley before migration 17 left it."""
    db = sqlite3.connect(path)
    db.execute("PRAGMA writable_schema = ON")
    names = ("complete", "streaming", "stopped", "failed", "interrupted")
    new = "CHECK (" + " OR ".join(f"status = '{n}'" for n in names) + ")"
    old = "CHECK (status IN (" + ", ".join(f"'{n}'" for n in names) + "))"
    done = db.execute("UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE name = 'messages' AND instr(sql, ?)", (new, old, new))
    assert done.rowcount == 1
    db.execute("DELETE FROM schema_migrations WHERE version >= 17")
    db.commit()
    db.close()


def schema(path):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    found = db.execute("SELECT max(version) FROM schema_migrations").fetchone()[0]
    db.close()
    return found


def test_a_database_of_an_older_program_is_served_from_a_full_disk_and_brought_up_to_date_later(mock, tmp_path):
    with SmallDisk(tmp_path) as disk, Program(upstream=mock.url, data=disk.path) as p:
        database = os.path.join(disk.path, "parley.db")
        c = p.setup()
        conversation = c.conversation()
        c.say(conversation, "before [say: kept]")
        p.stop()
        newest = schema(database)
        make_older(database)
        assert schema(database) == 16
        disk.fill()
        p.start()
        assert "disk is full" in reasons(c)[0]
        assert contents(c, conversation) == ["before [say: kept]", "kept"]
        assert "store.update_put_off" in p.log()
        disk.empty()
        wait_for(lambda: not reasons(c), "room again")
        assert c.say(conversation, "[say: room again]")[1]["content"] == "room again"
        assert schema(database) == newest


def test_an_index_of_the_log_that_is_gone_is_said(mock, tmp_path):
    with SmallDisk(tmp_path) as disk, Program(upstream=mock.url, data=disk.path) as p:
        p.setup()
        kill_all(p)
        os.unlink(os.path.join(disk.path, "parley.db-shm"))
        disk.read_only()
        p.start(ready=None)
        wait_for(lambda: "stands in its log alone" in p.log(), "the reason")
        p.stop(signal.SIGKILL)
        disk.writable()


def test_a_model_server_is_changed_only_when_the_change_is_kept(mock, tmp_path):
    with SmallDisk(tmp_path) as disk, Program(upstream=mock.url, data=disk.path) as p:
        c = p.setup()
        name = c.get("/api/v1/upstreams")["data"][0]["name"]
        p.stop()
        disk.fill()
        p.start()
        with pytest.raises(ApiError) as e:
            c.call("PATCH", f"/api/v1/upstreams/{name}", {"enabled": False, "weight": 7})
        assert e.value.status == 507
        now = c.get("/api/v1/upstreams")["data"][0]
        assert (now["enabled"], now["weight"]) == (True, 1)
        disk.empty()
        wait_for(lambda: not reasons(c), "room again")
        assert c.call("PATCH", f"/api/v1/upstreams/{name}", {"weight": 7})["weight"] == 7
        with pytest.raises(ApiError) as e:
            c.call("PATCH", "/api/v1/upstreams/nobody", {"weight": 7})
        assert e.value.status == 404
