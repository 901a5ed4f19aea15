"""parley chat as a person uses it: in a terminal (a pseudo-terminal here), with Ctrl-C."""

import os
import pty
import re
import select
import signal
import subprocess

import pytest
from harness import BINARY, Program, wait_for
from mock_upstream import MockUpstream, embed_words


class Terminal:
    def __init__(self, argv, env):
        self.master, slave = pty.openpty()
        self.child = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True)
        os.close(slave)
        self.seen = ""

    def expect(self, pattern, seconds=300):
        """Reads until pattern is there; returns and drops what came up to it."""
        while not (found := re.search(pattern, self.seen, re.S)):
            ready, _, _ = select.select([self.master], [], [], seconds)
            assert ready, f"{pattern!r} did not come; there is {self.seen!r}"
            try:
                data = os.read(self.master, 65536)
            except OSError:
                data = b""
            assert data, f"it ended before {pattern!r}; there is {self.seen!r}"
            self.seen += data.decode()
        text, self.seen = self.seen[:found.end()], self.seen[found.end():]
        return text

    def type(self, text):
        os.write(self.master, text.encode())

    def interrupt(self):
        os.kill(self.child.pid, signal.SIGINT)

    def close(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        os.close(self.master)


@pytest.fixture
def own():
    upstream = MockUpstream()
    with Program(upstream=upstream.url) as p:
        p.mock, p.admin = upstream, p.setup()
        p.here = ["--data-dir", p.data, "--listen", f"127.0.0.1:{p.port}"]
        yield p
    upstream.close()


@pytest.fixture
def terminal(own, tmp_path):
    env = {k: v for k, v in os.environ.items() if k != "PARLEY_KEY"} | {"HOME": str(tmp_path)}
    t = Terminal([BINARY, "chat", *own.here], env)
    t.expect("> ")
    yield t
    t.close()


def test_conversation_is_kept_and_roles_change(own, terminal):
    terminal.type("my name is Ada [say: hello Ada]\n")
    terminal.expect("\nhello Ada.*> ")
    terminal.type("first line \\\n")
    terminal.expect("… ")
    terminal.type("[say: second]\n")
    terminal.expect("\nsecond.*> ")
    asked = own.mock.chats()
    last = next(c for c in reversed(asked) if c["messages"][-1]["content"].endswith("\n[say: second]"))
    assert [m["role"] for m in last["messages"]] == ["system", "user", "assistant", "user"]
    assert "my name is Ada" in last["messages"][1]["content"] and "\n" in last["messages"][-1]["content"]
    terminal.type("/role travel-assistant\n")
    terminal.expect("Travel Assistant.*> ")
    terminal.type("[say: away]\n")
    terminal.expect("\naway.*> ")
    last = next(c for c in reversed(own.mock.chats()) if c["messages"][-1]["content"] == "[say: away]")
    assert "travel" in last["messages"][0]["content"].lower() and len(last["messages"]) == 2
    terminal.type("/role\n")
    terminal.expect("/role code-helper .*> ")
    terminal.type("/role nobody\n")
    terminal.expect('no role "nobody".*> ')
    terminal.type("/quit\n")
    assert terminal.child.wait(300) == 0


def test_ctrl_c_stops_an_answer_and_leaves_at_the_prompt(own, terminal):
    terminal.type("[hold] [words: 9]\n")
    terminal.expect("word0")
    terminal.interrupt()
    terminal.expect(r"\(stopped\).*> ")
    conversation = own.admin.get("/api/v1/conversations")["data"][0]["conversation_id"]
    messages = own.admin.get(f"/api/v1/conversations/{conversation}/messages")["data"]
    assert (messages[1]["status"], messages[1]["content"].strip()) == ("stopped", "word0")
    terminal.interrupt()
    terminal.expect("Ctrl-C again.*> ")
    terminal.interrupt()
    assert terminal.child.wait(300) == 0


def test_answer_goes_on_after_the_server_was_killed(own, terminal):
    terminal.type("[hold] [words: 9]\n")
    terminal.expect("word0")
    own.kill("server")
    own.mock.released.set()
    terminal.expect("word8.*> ")  # the next server goes on with it, and so does the conversation
    terminal.type("after [say: fine]\n")
    terminal.expect("\nfine.*> ")


def test_key_of_this_machine_is_private_and_made_anew_when_revoked(own, tmp_path):
    env = {k: v for k, v in os.environ.items() if k != "PARLEY_KEY"} | {"HOME": str(tmp_path)}

    def once(*args):
        return subprocess.run([BINARY, "chat", *own.here, "--once", "[say: yes]", *args], capture_output=True, text=True, env=env,
                              timeout=300, check=False)

    assert once().stdout == "yes\n"
    path = os.path.join(own.data, "local-key")
    assert os.stat(path).st_mode & 0o777 == 0o600
    for key in own.admin.get("/api/v1/keys")["data"]:
        own.admin.call("DELETE", "/api/v1/keys/" + key["key_id"])
    with open(path, encoding="ascii") as f:
        before = f.read()
    done = once()
    assert (done.returncode, done.stdout) == (0, "yes\n"), done.stderr
    with open(path, encoding="ascii") as f:
        assert f.read() != before
    with open(path, "w", encoding="ascii") as f:
        f.write("parley_" + "x" * 40 + "\n")  # no longer one of the server's: replaced, too
    assert once().stdout == "yes\n"
    own.admin.post("/api/v1/users", {"username": "ada", "email": "ada@example.org", "password": "a long password"})
    assert once("--user", "ada").stdout == "yes\n"
    subprocess.run([BINARY, "user", "disable", "ada", "--data-dir", own.data], check=True, timeout=300, capture_output=True)
    done = once("--user", "ada")
    assert done.returncode == 1 and "disabled" in done.stderr
    refused = once("--server", own.url)  # named by an address: that key is not sent
    assert refused.returncode == 5 and "API key" in refused.stderr


def test_saved_login_is_used_again(own, tmp_path):
    key = own.admin.post("/api/v1/keys", {"name": "saved"})["key"]
    env = {**os.environ, "HOME": str(tmp_path), "PARLEY_KEY": key}
    argv = [BINARY, "chat", "--once", "[say: saved]"]
    done = subprocess.run([*argv, "--server", own.url, "--save"], capture_output=True, text=True, env=env, timeout=300, check=False)
    assert done.stdout == "saved\n", done.stderr
    saved = tmp_path / ".config" / "parley" / "chat.conf"
    assert saved.stat().st_mode & 0o777 == 0o600
    del env["PARLEY_KEY"]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=300, check=False)
    assert done.stdout == "saved\n", done.stderr


def test_answer_does_not_steer_the_terminal(own, tmp_path):
    env = {k: v for k, v in os.environ.items() if k != "PARLEY_KEY"} | {"HOME": str(tmp_path)}
    t = Terminal([BINARY, "chat", *own.here, "--once", "[say: one \x1b[31m two \x9b32m end]"], env)
    shown = t.expect("end?.*\n")
    t.close()
    assert "one" in shown and "two" in shown and "\x1b" not in shown and "\x9b" not in shown


def test_sources_that_an_answer_cites_are_named_but_not_in_a_pipe(own, tmp_path):
    own.mock.embed = embed_words
    doc = own.admin.post("/api/v1/documents", {"source_name": "ferries.md", "content": "# Fer\x1b[31mries\n\nThe last ferry to Vestra leaves at ten.\n"})
    wait_for(lambda: own.admin.get(f"/api/v1/documents/{doc['doc_id']}")["status"] == "indexed", "the index")
    env = {k: v for k, v in os.environ.items() if k != "PARLEY_KEY"} | {"HOME": str(tmp_path)}
    argv = [BINARY, "chat", *own.here, "--once", "When does the last ferry to Vestra leave? [say: The last ferry to Vestra leaves at ten [1].]"]
    t = Terminal(argv, env)
    assert "\x1b" not in t.expect(r"at ten \[1\]\.\s+\[1\] [Ff]er[^\n]*\n")
    assert t.child.wait(300) == 0
    t.close()
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env=env, timeout=300)
    assert done.stdout == "The last ferry to Vestra leaves at ten [1].\n"
    done = subprocess.run([BINARY, "search", "last ferry to Vestra", *own.here, "--upstream", own.mock.url], check=True, capture_output=True,
                          text=True, env=env, timeout=300)
    assert "ten" in done.stdout and "\x1b" not in done.stdout


def test_a_file_is_handed_over(own, terminal, tmp_path):
    own.mock.embed = embed_words
    letter = tmp_path / "a letter & more.md"
    letter.write_text("Dear Ada, the ferry of the 14th is cancelled.\n")
    terminal.type("/attach /nowhere/at/all\n")
    terminal.expect("cannot be read.*> ")
    terminal.type(f"/attach {letter}\n")
    terminal.expect(r"ask about it\).*> ")
    terminal.type("Summarise the file. [say: It is cancelled.]\n")
    terminal.expect("It is cancelled.*> ")
    asked = [c["messages"][-1]["content"] for c in own.mock.chats() if c["messages"][-1]["content"].endswith("[say: It is cancelled.]")]
    assert "the ferry of the 14th" in asked[-1]
    env = {k: v for k, v in os.environ.items() if k != "PARLEY_KEY"} | {"HOME": str(tmp_path)}
    argv = [BINARY, "chat", *own.here, "--attach", str(letter), "--once", "What is it about? [say: Of a ferry.]"]
    assert subprocess.run(argv, check=True, capture_output=True, text=True, env=env, timeout=300).stdout == "Of a ferry.\n"
    asked = [c["messages"][-1]["content"] for c in own.mock.chats() if c["messages"][-1]["content"].endswith("[say: Of a ferry.]")]
    assert "the ferry of the 14th" in asked[-1]


def test_server_of_the_data_directory_is_found_on_any_port(own, tmp_path):
    env = {k: v for k, v in os.environ.items() if k not in ("PARLEY_KEY", "PARLEY_SERVER", "PARLEY_LISTEN")} | {"HOME": str(tmp_path)}
    argv = [BINARY, "chat", "--data-dir", own.data, "--once", "[say: found]"]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "found\n"), done.stderr
    done = subprocess.run([*argv, "--port", "9"], capture_output=True, text=True, env=env, timeout=300, check=False)
    assert done.returncode == 4 and ":9;" in done.stderr  # what is named goes before


def test_continue_goes_on_with_the_role_that_is_named(own, tmp_path):
    env = {k: v for k, v in os.environ.items() if k != "PARLEY_KEY"} | {"HOME": str(tmp_path)}
    for args in (["[say: first]"], ["[say: second]", "--continue", "--role", "travel-assistant"]):
        subprocess.run([BINARY, "chat", *own.here, "--once", *args], check=True, capture_output=True, env=env, timeout=300)
    last = next(c for c in reversed(own.mock.chats()) if c["messages"][-1]["content"] == "[say: second]")
    assert "travel" in last["messages"][0]["content"].lower() and len(last["messages"]) == 4


def test_file_with_the_setup_link_goes_after_the_set_up(own):
    wait_for(lambda: not os.path.exists(os.path.join(own.data, "setup-link")), "the end of setup-link")
