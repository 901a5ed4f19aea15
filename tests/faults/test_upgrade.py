"""A newer program takes over while people are served: nobody is refused, no answer breaks. And a server that lives but is stuck is
seen to."""

import http.client
import os
import shutil
import signal
import subprocess
import threading

import harness
import pytest
from disk import SmallDisk
from harness import Client, Program, wait_for
from mock_upstream import MockUpstream


@pytest.fixture
def upstream():
    u = MockUpstream()
    yield u
    u.close()


class Installed(Program):
    """A program in a place of its own, where another can be put."""

    def start(self, ready="/readyz"):
        self.binary = os.path.join(self.work, "parley")
        shutil.copy2(harness.BINARY, self.binary)
        self.argv[0] = self.binary
        super().start(ready)

    def install(self, source):
        os.unlink(self.binary)
        shutil.copy2(source, self.binary)

    def upgrade(self):
        return subprocess.run([self.binary, "upgrade", "--data-dir", self.data], capture_output=True, text=True, timeout=300)


def ask_until(p, over, answered, failed):
    while not over.is_set():
        c = http.client.HTTPConnection("127.0.0.1", p.port, timeout=300)
        try:
            c.request("GET", "/readyz")
            answered.append(c.getresponse().status)
        except (OSError, http.client.HTTPException) as e:
            failed.append(repr(e))
        finally:
            c.close()


def test_upgrade_refuses_nobody_and_breaks_no_stream(upstream):
    with Installed(upstream=upstream.url) as p:
        admin = p.setup()
        held = admin.conversation()
        stream = admin.stream("POST", f"/api/v1/conversations/{held}/messages", {"content": "[words: 20] [hold]"})
        assert upstream.held.wait(300)
        before, over, answered, failed = p.processes(), threading.Event(), [], []
        threads = [threading.Thread(target=ask_until, args=(p, over, answered, failed)) for _ in range(3)]
        for t in threads:
            t.start()
        try:
            p.install(harness.BINARY)
            done = p.upgrade()
            assert done.returncode == 0, done.stderr
            wait_for(lambda: '"supervisor.upgraded"' in p.log() and p.log().count('"server.listening"') == 2, "the new server")
            _, message = admin.say(admin.conversation(), "[say: it goes on after the upgrade]")
            assert message["content"] == "it goes on after the upgrade"
            upstream.released.set()
            events = list(stream)
        finally:
            over.set()
            for t in threads:
                t.join()
        assert not failed and set(answered) == {200}
        assert events[-1]["event"] == "done"
        assert events[-1]["data"]["message"]["content"] == " ".join(f"word{i}" for i in range(20))
        wait_for(lambda: before["server"] not in dict(p.session()), "the old server's end")
        assert p.processes()["supervisor"] == before["supervisor"]
        p.child.terminate()  # the new one ends in order, too: it is not killed for not having heard
        assert p.child.wait(300) == 0
        assert '"supervisor.kill"' not in p.log()


def test_what_the_old_program_left_goes_on_when_a_full_disk_has_room_again(upstream, tmp_path):
    with SmallDisk(tmp_path) as disk, Installed(upstream=upstream.url, data=disk.path) as p:
        admin = p.setup()
        stream = admin.stream("POST", f"/api/v1/conversations/{admin.conversation()}/messages", {"content": "[words: 20] [hold]"})
        answer = next(iter(stream))["data"]["message"]["message_id"]
        assert upstream.held.wait(300)
        before = p.processes()["server"]
        disk.fill()
        p.install(harness.BINARY)
        done = p.upgrade()
        assert done.returncode == 0, done.stderr
        wait_for(lambda: p.log().count('"server.listening"') == 2, "the new server")
        os.kill(before, signal.SIGKILL)  # while it waits for its answer's end
        wait_for(lambda: '"server.not_recovered"' in p.log(), "the first try")
        assert admin.get(f"/api/v1/messages/{answer}")["status"] == "streaming"
        upstream.released.set()
        disk.empty()
        wait_for(lambda: admin.get(f"/api/v1/messages/{answer}")["status"] == "complete", "the rest of the answer")
        assert admin.get(f"/api/v1/messages/{answer}")["content"] == " ".join(f"word{i}" for i in range(20))


def test_upgrade_to_a_program_that_cannot_run_changes_nothing(upstream):
    with Installed(upstream=upstream.url) as p:
        p.setup()
        before = p.processes()
        p.install("/bin/false")
        os.kill(p.child.pid, signal.SIGUSR2)
        wait_for(lambda: "supervisor.upgrade_refused" in p.log(), "the refusal")
        assert p.processes() == before and p.status("/readyz") == 200


def test_stopped_server_goes_on(upstream):
    with Program(upstream=upstream.url) as p:
        admin = p.setup()
        before = p.processes()["server"]
        os.kill(before, signal.SIGSTOP)
        assert Client(p.port, cookie=admin.cookie).get("/api/v1/users/me")["username"] == "admin"
        wait_for(lambda: "supervisor.child_stopped" in p.log(), "the note")
        assert p.processes()["server"] == before


def test_server_that_grows_past_its_limit_is_replaced(upstream):
    with Program(upstream=upstream.url, args=["--server-memory-mib", "1"]) as p:
        wait_for(lambda: "supervisor.too_large" in p.log(), "the limit")
        wait_for(lambda: p.log().count('"server.listening"') >= 2, "another server")
