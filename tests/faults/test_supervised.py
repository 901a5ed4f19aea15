"""The supervisor around the real server: nothing is refused while it restarts, what cannot work says so, memory stays small."""

import http.client
import os
import signal
import socket
import subprocess
import threading

import pytest
from harness import BINARY, Client, Program, free_port, wait_for
from mock_upstream import MockUpstream


@pytest.fixture
def supervised():
    upstream = MockUpstream()
    with Program(upstream=upstream.url) as p:
        yield p
    upstream.close()


def test_connections_made_while_the_server_is_away_are_answered(supervised):
    p = supervised
    os.kill(p.child.pid, signal.SIGSTOP)  # so that nothing is started before the connections are there
    try:
        before = p.kill("server")
        wait_for(lambda: before not in dict(p.session()), "its end")
        waiting = []
        for _ in range(50):
            c = http.client.HTTPConnection("127.0.0.1", p.port, timeout=300)
            c.request("GET", "/healthz")
            waiting.append(c)
    finally:
        os.kill(p.child.pid, signal.SIGCONT)
    assert {c.getresponse().status for c in waiting} == {200}
    assert p.processes()["server"] != before


def test_no_request_is_refused_while_servers_are_killed(supervised):
    p, refused, answered, over = supervised, [], [], threading.Event()

    def ask():
        while not over.is_set():
            c = http.client.HTTPConnection("127.0.0.1", p.port, timeout=300)
            try:
                c.request("GET", "/healthz")
                answered.append(c.getresponse().status)
            except ConnectionRefusedError as e:
                refused.append(e)
            except (OSError, http.client.HTTPException):
                pass  # cut in the middle: this one had reached the server that was killed
            finally:
                c.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for t in threads:
        t.start()
    for _ in range(4):
        p.kill("server")
        enough = len(answered) + 50
        wait_for(lambda: len(answered) >= enough, "answers")
    over.set()
    for t in threads:
        t.join()
    assert not refused and set(answered) == {200}


def test_terminated_program_ends_cleanly_and_leaves_nothing(supervised):
    p = supervised
    pids = p.processes()
    assert set(pids) == {"supervisor", "server"}  # another model server: no engine
    os.kill(p.child.pid, signal.SIGTERM)
    assert p.child.wait(300) == 0
    assert not [pid for pid in pids.values() if os.path.exists(f"/proc/{pid}")]
    assert not os.path.exists(os.path.join(p.data, "parley.db-wal")) or os.path.getsize(os.path.join(p.data, "parley.db-wal")) == 0


def test_running_answer_is_finished_before_the_end():
    upstream = MockUpstream()
    with Program(upstream=upstream.url) as p:
        c = p.setup()
        s = c.stream("POST", f"/api/v1/conversations/{c.conversation()}/messages", {"content": "[hold] [words: 5]"})
        events = iter(s)
        first = next(events)
        assert upstream.held.wait(300)
        os.kill(p.child.pid, signal.SIGTERM)
        wait_for(lambda: '"server.stopping"' in p.log(), "the server's stopping")
        upstream.released.set()
        rest = list(events)
        assert first["event"] == "created" and rest[-1]["event"] == "done", rest[-1:]
        assert rest[-1]["data"]["message"]["content"] == "word0 word1 word2 word3 word4"
        assert p.child.wait(300) == 0
    upstream.close()


def test_damaged_database_ends_the_program_with_what_to_do(tmp_path):
    data = str(tmp_path)
    with open(os.path.join(data, "parley.db"), "wb") as f:
        f.write(b"this is no database at all" * 500)
    done = subprocess.run([BINARY, "serve", "--data-dir", data, "--listen", f"127.0.0.1:{free_port()}", "--upstream",
                           "http://127.0.0.1:9/v1"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done
    assert "parley.db" in done.stderr


def test_link_that_cannot_be_written_is_named(tmp_path):
    """The disk is not full: nobody is told that it is, and nothing is served without a first account."""
    os.makedirs(tmp_path / "setup-link.new")
    argv = [BINARY, "serve", "--data-dir", str(tmp_path), "--listen", f"127.0.0.1:{free_port()}", "--upstream", "http://127.0.0.1:9/v1"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as p:
        try:
            said = next(line for line in p.stderr if "setup-link" in line or "reads_only" in line)
        finally:
            p.terminate()
    assert "cannot run" in said and "setup-link cannot be written: Is a directory" in said


@pytest.mark.parametrize("setting,word", [(("--slots", "many"), "--slots"), (("--listen", "nowhere"), "listen"),
                                          (("--upstream", "ftp://x"), "upstream")])
def test_wrong_settings_end_the_program_before_it_starts(tmp_path, setting, word):
    done = subprocess.run([BINARY, "serve", "--data-dir", str(tmp_path), *setting], capture_output=True, text=True, timeout=300,
                          check=False)
    assert done.returncode == 2 and word in done.stderr and done.stdout == "", done
    assert not os.path.exists(tmp_path / "parley.db")


def test_address_in_use_is_refused(supervised, tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        for port in (s.getsockname()[1], supervised.port):  # another program's, and another Parley's
            done = subprocess.run([BINARY, "serve", "--data-dir", str(tmp_path), "--listen", f"127.0.0.1:{port}", "--upstream",
                                   "http://127.0.0.1:9/v1"], capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 1 and str(port) in done.stderr, done
    assert Client(supervised.port).raw("GET", "/healthz")[0] == 200


def test_idle_memory_of_supervisor_and_server_is_small(supervised):
    total = 0
    for pid in supervised.processes().values():
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
            total += next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
    print(f"supervisor and server: {total / 1024:.1f} MiB")
    assert total <= 40 * 1000
