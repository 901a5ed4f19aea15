"""What an administrator does in the terminal, on the data of a running program, and what the API then sees."""

import json
import os
import subprocess

import pytest
from harness import BINARY, ApiError, Client, wait_for


@pytest.fixture
def parley(program):
    def run(*args, stdin="", code=0):
        done = subprocess.run([BINARY, *args, "--data-dir", program.data], input=stdin, capture_output=True, text=True, timeout=300,
                              check=False)
        assert done.returncode == code, done
        assert (not done.stderr) if code == 0 else done.stderr.startswith("parley: "), done
        return done.stdout
    return run


def sign_in(program, name, password):
    c = Client(program.port)
    c.post("/api/v1/sessions", {"username": name, "password": password})
    return c


def test_account_lives_and_goes_in_the_terminal(program, parley):
    parley("user", "add", "grace", "--email", "grace@example.org", stdin="a long password\n")
    parley("user", "add", "Grace", "--email", "other@example.org", stdin="a long password\n", code=1)  # taken
    parley("user", "add", "short", "--email", "short@example.org", stdin="1234\n", code=2)
    parley("user", "add", "no-address", stdin="a long password\n", code=2)
    c = sign_in(program, "grace", "a long password")
    assert c.get("/api/v1/users/me")["is_admin"] is False
    parley("user", "passwd", "grace", stdin="another long one\n")
    with pytest.raises(ApiError) as refused:
        c.get("/api/v1/users/me")  # signed out everywhere
    assert refused.value.status == 401
    c = sign_in(program, "grace@example.org", "another long one")
    parley("user", "admin", "grace")
    assert c.get("/api/v1/users/me")["is_admin"] is True
    parley("user", "admin", "grace", "--off")
    key = parley("user", "key", "grace", "--name", "for a test").strip()
    by_key = Client(program.port, key=key)
    assert by_key.get("/api/v1/users/me")["username"] == "grace"
    parley("user", "disable", "grace")
    for client in (c, by_key):
        with pytest.raises(ApiError):
            client.get("/api/v1/users/me")
    parley("user", "key", "grace", code=1)
    parley("user", "enable", "grace")
    assert by_key.get("/api/v1/users/me")["username"] == "grace"
    parley("user", "delete", "grace", code=1)  # nobody to ask, and not said --yes
    parley("user", "delete", "grace", "--yes")
    parley("user", "delete", "grace", "--yes", code=3)
    assert "grace" not in [u["username"] for u in json.loads(parley("user", "list", "--json"))]


def test_last_administrator_stays(program, parley):
    admins = [u["username"] for u in json.loads(parley("user", "list", "--json")) if u["is_admin"]]
    assert admins == ["admin"]
    for args in (("disable", "admin"), ("admin", "admin", "--off"), ("delete", "admin", "--yes")):
        parley("user", *args, code=1)
    assert program.admin.get("/api/v1/users/me")["is_admin"] is True


def test_role_is_made_changed_and_retired(program, parley, tmp_path):
    parley("role", "add", "Poet", code=2)  # no prompt
    parley("role", "add", "Poet", "--prompt", "You answer in verse.", "--temperature", "0.9", "--stop-it", "x", code=2)
    parley("role", "add", "Poet", "--prompt", "You answer in verse.", "--temperature", "0.9")
    parley("role", "add", "poet", "--prompt", "Again.", code=1)
    file = tmp_path / "prompt"
    file.write_text("You answer in prose.\n", encoding="utf-8")
    assert "version 2" in parley("role", "edit", "poet", "--prompt-file", str(file))
    assert "version 2" in parley("role", "edit", "Poet", "--description", "No new version for this")
    role = json.loads(parley("role", "show", "poet", "--json"))
    assert (role["system_prompt"], role["temperature"], role["version"]) == ("You answer in prose.", 0.9, 2)
    assert "You answer in prose." in parley("role", "show", "Poet")
    slugs = [r["slug"] for r in program.admin.get("/api/v1/roles")["data"]]
    assert "poet" in slugs
    parley("role", "edit", "Poet", "--temperature", "hot", code=2)
    parley("role", "edit", "Poet", "--stop", "THE END\n--", "--starters", 'A "sonnet"?\nA haiku?')
    role = json.loads(parley("role", "show", "poet", "--json"))
    assert (role["stop"], role["starter_questions"]) == (["THE END", "--"], ['A "sonnet"?', "A haiku?"])
    parley("role", "edit", "Poet", "--starters", "")
    assert json.loads(parley("role", "show", "poet", "--json"))["starter_questions"] == []
    for wrong in (("--stop", "a\nb\nc\nd\ne"), ("--prompt", "x" * 32001), ("--description", "x" * 1001), ("--name", "..."), ("--name", "x" * 81)):
        parley("role", "edit", "Poet", *wrong, code=2)
    parley("role", "retire", "Poet")
    assert "poet" not in [r["slug"] for r in program.admin.get("/api/v1/roles")["data"]]
    assert "Poet" not in parley("role", "list") and "Poet" in parley("role", "list", "--all")
    parley("role", "edit", "Poet", "--restore")
    assert "Poet" in parley("role", "list")
    parley("role", "retire", "Poet")
    parley("role", "show", "nobody", code=3)


def test_conversations_are_shown_exported_and_deleted(program, parley, user):
    name = user.user["username"]
    conversation = user.conversation()
    user.say(conversation, "first question [say: first answer \x1b[31m]")
    user.post(f"/api/v1/conversations/{conversation}/messages", {"content": "asked again [say: other branch]", "parent_id": None})
    shown = parley("conversation", "show", conversation, "--user", name)
    assert "other branch" in shown and "\x1b" not in shown
    whole = json.loads(parley("conversation", "export", conversation, "--user", name))
    assert len(whole["messages"]) == 4 and whole["conversation_id"] == conversation
    lines = parley("conversation", "export", "--user", name).splitlines()
    assert [json.loads(line)["conversation_id"] for line in lines] == [conversation]
    wait_for(lambda: [c["conversation_id"] for c in json.loads(parley("conversation", "list", "--user", name, "--search", "branch", "--json"))]
             == [conversation], "the words in the index")
    parley("conversation", "show", conversation, "--user", "admin", code=3)  # not the administrator's
    parley("conversation", "show", "not-an-id", "--user", name, code=2)
    parley("conversation", "delete", conversation, "--user", name, "--yes")
    parley("conversation", "show", conversation, "--user", name, code=3)


def test_commands_do_not_make_a_database_by_mistake(tmp_path):
    done = subprocess.run([BINARY, "user", "list", "--data-dir", str(tmp_path / "typo")], capture_output=True, text=True, timeout=300,
                          check=False)
    assert done.returncode == 3 and "typo" in done.stderr
    assert not os.path.exists(tmp_path / "typo")


def test_help_of_every_command_is_there():
    listed = subprocess.run([BINARY, "help"], capture_output=True, text=True, timeout=300, check=True).stdout
    for command in ("serve", "engine", "chat", "model", "user", "role", "conversation", "config", "doctor", "backup", "restore"):
        assert f"  {command} " in listed
        done = subprocess.run([BINARY, "help", command], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0 and "parley" in done.stdout, done
    for sub in (("user", "add"), ("role", "edit"), ("conversation", "export")):
        for args in ((*sub, "--help"), ("help", *sub)):
            done = subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0 and " ".join(sub) in done.stdout, done
    close = subprocess.run([BINARY, "conversatoin"], capture_output=True, text=True, timeout=300, check=False)
    assert close.returncode == 2 and "did you mean `parley conversation`?" in close.stderr
