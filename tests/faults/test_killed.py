"""kill -9 of each process: what was acknowledged is still there, and the next message works."""

import os
import signal

import pytest
from harness import Client, Program, wait_for
from mock_upstream import MockUpstream


def child(program, name):
    return program.processes().get(name)


@pytest.fixture
def killable():
    upstream = MockUpstream()
    with Program(upstream=upstream.url) as p:
        p.mock, p.admin = upstream, p.setup()
        yield p
    upstream.close()


def test_engine_killed_is_back_and_the_next_message_works():
    with Program() as p:
        c = p.setup()
        conversation = c.conversation()
        _, m = c.say(conversation, "Say hello.")
        assert m["status"] == "complete"
        before = child(p, "engine")
        s = c.stream("POST", f"/api/v1/conversations/{conversation}/messages", {"content": "Tell me a long story about a ship."})
        it = iter(s)
        seen = [next(it), next(it)]
        os.kill(before, signal.SIGKILL)
        seen += list(it)
        assert seen[-1]["event"] in ("error", "done")
        stored = c.get("/api/v1/messages/" + seen[0]["data"]["message"]["message_id"])
        text = "".join(e["data"]["text"] for e in seen if e["event"] == "token")
        assert stored["content"].startswith(text) and stored["status"] in ("failed", "complete")
        _, m = c.say(conversation, "Say hello again.")
        assert m["status"] == "complete" and m["content"].strip()
        assert child(p, "engine") not in (None, before)


def test_server_killed_mid_answer_keeps_what_was_acknowledged(killable):
    p, mock = killable, killable.mock
    c = p.admin
    conversation = c.conversation()
    c.say(conversation, "before [say: kept]")
    s = c.stream("POST", f"/api/v1/conversations/{conversation}/messages", {"content": "during [hold] [words: 9]"})
    created = next(iter(s))["data"]
    before = child(p, "server")
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: p.status("/readyz") == 200, "the server's return")
    mock.released.set()
    assert child(p, "server") != before
    stored = c.get(f"/api/v1/conversations/{conversation}/messages")["data"]
    assert [m["content"] for m in stored][:3] == ["before [say: kept]", "kept", "during [hold] [words: 9]"]
    assert stored[3]["message_id"] == created["message"]["message_id"] and stored[3]["status"] == "interrupted"
    _, m = c.say(conversation, "after [say: fine]")
    assert m["content"] == "fine"


def test_server_killed_under_writers_loses_nothing_acknowledged(killable):
    import threading

    acknowledged, lock, over = [], threading.Lock(), threading.Event()

    def write(i):
        c = Client(killable.port, cookie=killable.admin.cookie)
        n = 0
        while not over.is_set():
            n += 1
            title = f"writer {i} number {n}"
            try:
                got = c.post("/api/v1/conversations", {"title": title})
            except Exception:  # noqa: BLE001 (the server is being killed)
                over.wait(0.01)
                continue
            with lock:
                acknowledged.append((got["conversation_id"], title))

    threads = [threading.Thread(target=write, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for _ in range(5):
        enough = len(acknowledged) + 30
        wait_for(lambda: len(acknowledged) >= enough, "writes")
        os.kill(wait_for(lambda: child(killable, "server"), "a server"), signal.SIGKILL)
        wait_for(lambda: killable.status("/healthz") == 200, "the server's return")
    over.set()
    for t in threads:
        t.join()
    wait_for(lambda: killable.status("/readyz") == 200, "readiness")
    for conversation_id, title in acknowledged:
        assert killable.admin.get(f"/api/v1/conversations/{conversation_id}")["title"] == title


def test_supervisor_killed_takes_its_children_with_it(killable):
    pids = killable.processes()
    os.kill(pids["supervisor"], signal.SIGKILL)
    killable.child.wait()
    wait_for(lambda: not [pid for pid in pids.values() if os.path.exists(f"/proc/{pid}")], "the children's end")
