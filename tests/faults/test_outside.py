"""What surrounds the program fails: slow readers, a locked database, a full disk, damaged weights."""

import json
import os
import signal
import socket
import sqlite3

import pytest
from disk import SmallDisk
from harness import Client, Program, wait_for


def server_memory_kb(program):
    with open(f"/proc/{program.processes()['server']}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


def test_readers_that_do_not_read_cost_bounded_memory(program, user):
    conversation = user.conversation()
    _, message = user.say(conversation, "[words: 60000]")
    assert message["status"] == "complete"
    before = server_memory_kb(program)
    sockets = []
    for _ in range(60):
        s = socket.create_connection(("127.0.0.1", program.port), 300)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(f"GET /api/v1/messages/{message['message_id']}/events HTTP/1.1\r\nHost: x\r\nCookie: {user.cookie}\r\n"
                  "Accept: text/event-stream\r\n\r\n".encode())
        sockets.append(s)
    assert user.get("/api/v1/users/me")["username"]
    assert server_memory_kb(program) - before < 64 * 1024
    for s in sockets:
        s.close()
    assert program.status("/healthz") == 200


def test_half_closed_and_stalled_clients_do_not_hold_anybody_up(program, user):
    stalled = []
    for i in range(100):
        s = socket.create_connection(("127.0.0.1", program.port), 300)
        s.sendall(b"POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{" if i % 2 else b"GET /")
        if i % 3 == 0:
            s.shutdown(socket.SHUT_WR)
        stalled.append(s)
    _, m = user.say(user.conversation(), "[say: still here]")
    assert m["content"] == "still here"
    for s in stalled:
        s.close()


def test_locked_database_is_said_and_passes(program, user):
    conversation = user.conversation()
    path = next(os.path.join(program.data, f) for f in os.listdir(program.data) if f.endswith(".db"))
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    try:
        status, headers, text = user.raw("POST", f"/api/v1/conversations/{conversation}/messages", {"content": "hi"})
        assert status == 503 and json.loads(text)["error"]["code"] == "store_busy" and headers["Retry-After"]
        assert user.get(f"/api/v1/conversations/{conversation}/messages")["data"] == []
    finally:
        db.execute("ROLLBACK")
        db.close()
    _, m = user.say(conversation, "[say: again]")
    assert m["content"] == "again"


def test_server_starts_on_a_full_disk_and_reads(mock, tmp_path):
    with SmallDisk(tmp_path) as disk, Program(upstream=mock.url, data=disk.path) as p:
        c = p.setup()
        conversation = c.conversation()
        c.say(conversation, "before [say: kept]")
        disk.fill()
        p.stop(signal.SIGKILL)
        p.start()
        stored = c.get(f"/api/v1/conversations/{conversation}/messages")["data"]
        assert [m["content"] for m in stored] == ["before [say: kept]", "kept"]
        for _ in range(40):  # the log has room for a little
            status, _, text = c.raw("POST", "/api/v1/documents", {"source_name": "big", "content": "y" * 60000})
            if status != 201:
                break
        assert status == 507 and json.loads(text)["error"]["code"] == "disk_full"
        assert "disk is full" in c.raw("GET", "/readyz")[2].decode()
        disk.empty()
        wait_for(lambda: not json.loads(c.raw("GET", "/readyz")[2])["reasons"], "room again")
        _, m = c.say(conversation, "[say: room again]")
        assert m["content"] == "room again"


def test_server_starts_on_a_full_disk_with_an_answer_to_give_up(mock, tmp_path):
    with SmallDisk(tmp_path) as disk, Program(upstream=mock.url, data=disk.path) as p:
        c = p.setup()
        conversation = c.conversation()
        _, m = c.say(conversation, "before [say: kept]")
        path = next(os.path.join(p.data, f) for f in os.listdir(p.data) if f.endswith(".db"))
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("UPDATE messages SET status = 'streaming', timestamp = 1 WHERE message_id = ?", (m["message_id"],))
        disk.fill()
        p.stop(signal.SIGKILL)
        p.start()
        db.close()  # not before: the last to close takes the log away
        assert "server.reads_only" in p.log()

        def status():
            return c.get(f"/api/v1/messages/{m['message_id']}")["status"]

        assert status() == "streaming"
        disk.empty()
        wait_for(lambda: status() == "interrupted", "the answer to be given up")
        _, m2 = c.say(conversation, "[say: room again]")
        assert m2["content"] == "room again"


def test_full_disk_is_said_and_passes(mock, tmp_path):
    with SmallDisk(tmp_path) as disk, Program(upstream=mock.url, data=disk.path) as p:
        c = p.setup()
        conversation = c.conversation()
        disk.fill()
        codes = set()
        for _ in range(40):
            status, _, text = c.raw("POST", "/api/v1/documents", {"source_name": "big", "content": "y" * 60000})
            codes.add((status, json.loads(text).get("error", {}).get("code")))
        assert (507, "disk_full") in codes and {s for s, _ in codes} <= {201, 507}, codes
        assert c.get(f"/api/v1/conversations/{conversation}")["conversation_id"] == conversation
        disk.empty()
        _, m = c.say(conversation, "[say: room again]")
        assert m["content"] == "room again"


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model at all" * 100])
def test_damaged_weights_are_said_and_the_rest_works(content, tmp_path):
    file = tmp_path / "broken.gguf"
    file.write_bytes(content)
    p = Program(model=str(file))
    try:
        p.start(ready="/healthz")
        c = p.setup()
        assert c.get("/api/v1/roles")["data"]
        status, _, text = Client(p.port).raw("GET", "/readyz")
        assert status == 503
        wait_for(lambda: "broken.gguf" in Client(p.port).raw("GET", "/readyz")[2].decode(), "the reason")
        status, _, text = c.raw("POST", f"/api/v1/conversations/{c.conversation()}/messages", {"content": "hi"}, timeout=300)
        body = json.loads(text)
        assert status >= 500 or body["message"]["status"] == "failed", (status, body)
        assert p.child.poll() is None
    finally:
        p.stop()


def test_missing_weights_are_refused_at_start_with_what_to_do(tmp_path):
    p = Program(model=str(tmp_path / "missing.gguf"))
    try:
        p.start(ready=None)
        wait_for(lambda: p.child.poll() is not None or "missing.gguf" in p.log(), "a word about it")
        assert "missing.gguf" in p.log()
    finally:
        p.stop()


def test_second_program_on_the_same_data_is_refused(program):
    second = Program(upstream="http://127.0.0.1:9/v1", data=program.data)
    second.start(ready=None)
    try:
        wait_for(lambda: second.child.poll() is not None, "the refusal")
        assert second.child.returncode != 0 and "already" in second.log()
    finally:
        second.stop()
    assert program.status("/readyz") == 200
