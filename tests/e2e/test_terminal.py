"""The terminal: `parley` as a person types it, and in pipes."""

import json
import os
import socket
import subprocess

from harness import BINARY, Program, wait_for


def parley(*args, program=None, stdin="", env=None):
    argv = [BINARY, *args]
    if program:
        argv += ["--data-dir", program.data]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=300, check=False,
                          env={**os.environ, **(env or {})})


def test_chat_once_in_a_pipe_prints_the_answer_alone(program, user):
    key = user.post("/api/v1/keys", {"name": "terminal"})["key"]
    env = {"PARLEY_KEY": key}
    done = parley("chat", "--server", program.url, "--once", "[say: from the pipe]", env=env)
    assert (done.returncode, done.stdout) == (0, "from the pipe\n"), done.stderr
    done = parley("chat", "--server", program.url, "--once", "[say: in role]", "--role", "travel-assistant", env=env)
    assert (done.returncode, done.stdout) == (0, "in role\n"), done.stderr
    done = parley("chat", "--server", program.url, stdin="[say: piped in]\n", env=env)
    assert done.returncode == 0 and "piped in" in done.stdout, done.stderr


def test_chat_says_what_is_wrong(program, user):
    key = user.post("/api/v1/keys", {"name": "terminal"})["key"]
    for args, env, status in [(["--server", "http://127.0.0.1:9", "--once", "hi"], {"PARLEY_KEY": key}, 4),
                              (["--server", program.url, "--once", "hi"], {"PARLEY_KEY": "parley_wrong"}, 5),
                              (["--server", program.url, "--once", "hi", "--role", "nobody"], {"PARLEY_KEY": key}, 3),
                              (["--server", program.url, "--once", "[status: 500]"], {"PARLEY_KEY": key}, 1),
                              (["--server", program.url], {"PARLEY_KEY": key}, 2)]:  # an empty question
        done = parley("chat", *args, env=env)
        assert done.returncode == status and done.stderr.strip() and done.stdout == "", (args, done)


def test_users_roles_and_conversations_are_listed(program, user):
    user.say(user.conversation(), "a conversation to list [say: fine]")
    names = [u["username"] for u in json.loads(parley("user", "list", "--json", program=program).stdout)]
    assert "admin" in names and user.user["username"] in names
    roles = [r["name"] for r in json.loads(parley("role", "list", "--json", program=program).stdout)]
    assert {"General Assistant", "Travel Assistant", "Medical Advisor", "Code Helper"} <= set(roles)
    assert parley("conversation", "list", "--user", user.user["username"], program=program).returncode == 0
    assert parley("user", "passwd", "nobody-at-all", program=program, stdin="x\nx\n").returncode != 0


def test_backup_and_restore_bring_everything_back(program, user, tmp_path):
    user.say(user.conversation(), "to be kept [say: kept]")
    file = str(tmp_path / "copy.db")
    done = parley("backup", file, program=program)
    assert done.returncode == 0, done.stderr
    again = parley("backup", file, program=program)
    assert again.returncode == 1 and "--force" in again.stderr
    done = parley("backup", file, "--force", program=program)
    assert done.returncode == 0, done.stderr
    refused = parley("restore", file, program=program)
    assert refused.returncode != 0 and refused.stderr  # the program runs
    other = str(tmp_path / "data")
    os.makedirs(other)
    done = subprocess.run([BINARY, "restore", file, "--data-dir", other], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([BINARY, "user", "list", "--json", "--data-dir", other], capture_output=True, text=True, timeout=300, check=False)
    assert user.user["username"] in done.stdout


def test_restore_at_a_time_takes_the_newest_backup_before_it(mock):
    with Program(upstream=mock.url) as p:
        c = p.setup()
        conversation = c.conversation()
        c.say(conversation, "[say: early]")
        assert json.loads(parley("backup", "--list", "--json", program=p).stdout) == []
        c.post("/api/v1/store/backup")
        made = wait_for(lambda: c.get("/api/v1/store")["backed_up_at"], "the backup")
        listed = json.loads(parley("backup", "--list", "--json", program=p).stdout)
        assert len(listed) == 1 and listed[0]["bytes"] > 0 and listed[0]["path"].endswith("Z.db")
        assert listed[0]["at"][:19] <= made[:19] and listed[0]["path"] in parley("backup", "--list", program=p).stdout
        c.say(conversation, "[say: late]")
        p.stop()
        assert parley("restore", "--at", "yesterday", program=p).returncode == 2
        assert parley("restore", "--at", "2020-01-01", program=p).returncode == 3
        assert parley("restore", program=p).returncode == 2
        assert parley("backup", program=p).returncode == 2
        done = parley("restore", "--at", made[:19].replace("T", " "), program=p)
        assert done.returncode == 0 and listed[0]["path"] in done.stdout, done.stderr
        p.start()
        assert [m["content"] for m in c.get(f"/api/v1/conversations/{conversation}/messages")["data"]] == ["[say: early]", "early"]


def test_help_config_and_usage_errors(program):
    for args in (["--help"], ["serve", "--help"], ["chat", "--help"], ["model", "--help"], ["user", "--help"], ["backup", "--help"]):
        done = parley(*args)
        assert done.returncode == 0 and "parley" in done.stdout
    assert parley("no-such-command").returncode == 2
    assert parley("serve", "--no-such-flag").returncode == 2
    assert "listen" in parley("config", program=program).stdout
    bad = os.path.join(program.work, "bad.conf")
    with open(bad, "w", encoding="ascii") as f:
        f.write("# comment\nlisten = 127.0.0.1:8080\nlisen = x\n")
    done = parley("config", "--config", bad)
    assert done.returncode != 0 and f"{bad}:3" in done.stderr and "listen" in done.stderr


def test_doctor_finds_the_program_well(program, mock):
    done = parley("doctor", "--json", "--upstream", mock.url, program=program)
    assert done.returncode == 0, done
    said = {c["check"]: c["verdict"] for c in json.loads(done.stdout)}
    assert "wrong" not in said.values() and {"config", "data", "disk", "database", "server"} <= set(said), said


def test_mistakes_are_told_with_the_whole_command(tmp_path):
    for args, told in [(["user", "add"], "user add needs NAME; see `parley user add --help`"),
                       (["user", "lst"], "did you mean `parley user list`?"),
                       (["chat", "--nope"], "see `parley chat --help`"),
                       (["serve", "more"], 'what is "more"'),
                       (["config", "--config", str(tmp_path / "none.conf")], "cannot be read")]:
        done = parley(*args)
        assert done.returncode == 2 and told in done.stderr and done.stdout == "", (args, done)
    done = parley("restore", str(tmp_path / "no.db"), "--data-dir", str(tmp_path / "new"))
    assert done.returncode == 3 and not (tmp_path / "new").exists()


def test_doctor_says_what_is_wrong_and_what_to_do(tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    weights = tmp_path / "broken.gguf"
    weights.write_bytes(b"not a model at all" * 100)
    (tmp_path / "file").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for args, check, told in [(["--model", str(weights)], "model", "no GGUF file"),
                                  (["--model", "nosuch"], "model", "model list"),
                                  (["--models-dir", str(tmp_path / "models")], "model", "model pull"),
                                  (["--port", str(taken.getsockname()[1])], "address", "choose another port")]:
            done = parley("doctor", "--json", "--data-dir", str(data), *args)
            wrong = {c["check"]: c["text"] for c in json.loads(done.stdout) if c["verdict"] == "wrong"}
            assert done.returncode == 1 and told in wrong.get(check, ""), (args, done.stdout)
    (data / "parley.db").write_bytes(b"garbage" * 1000)
    done = parley("doctor", "--data-dir", str(data), "--upstream", "http://127.0.0.1:9/v1")
    assert done.returncode == 1 and "parley restore FILE" in done.stdout
    (data / "parley.conf").write_text("listne = 127.0.0.1:1\n")
    done = parley("doctor", "--data-dir", str(data))
    assert done.returncode == 2 and "parley.conf:1" in done.stderr and "did you mean listen?" in done.stderr
