"""A process that is stopped goes on, one that is killed is followed at once: in which order things happen, with the real engine."""

import json
import os
import signal

from harness import SMALL_MODEL, Program, wait_for
from test_killed import Follower

MODELS = os.environ.get("PARLEY_MODELS_DIR") or os.path.join(
    os.environ.get("PARLEY_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "parley"), "models")


def events(program, name, **fields):
    """Those of this name in the log that have these fields."""
    found = []
    for line in program.log().splitlines():
        try:
            e = json.loads(line)
        except ValueError:
            continue
        if e.get("event") == name and fields.items() <= e.items():
            found.append(e)
    return found


def greedy(client):
    """Begins an answer that is the same each time."""
    role = client.post("/api/v1/roles", {"name": "Greedy", "system_prompt": "You tell stories.", "temperature": 0, "max_tokens": 60})

    def begin():
        return Follower(client, client.post("/api/v1/conversations", {"assistant_role_id": role["role_id"]})["conversation_id"], "Tell me a story.")

    return begin


def test_stopped_engine_and_server_go_on_with_the_answer():
    with Program() as p:
        begin = greedy(p.setup())
        whole = begin()
        whole.read()
        before = p.processes()
        for n, name in enumerate(("engine", "server", "engine"), 1):
            f = begin()
            f.read(until=lambda f=f: len(f.text) > 20)
            os.kill(before[name], signal.SIGSTOP)
            f.read()
            assert f.last["status"] == "complete" and f.text == whole.text, name
            assert wait_for(lambda n=n: len(events(p, "supervisor.child_stopped")) == n, "its being told to go on")
        assert p.processes() == before  # nobody was taken for dead
        assert not events(p, "supervisor.child_ended") and not events(p, "supervisor.no_sign") and not events(p, "turn.continued")


def test_killed_engine_is_followed_at_once_and_measures_nothing_first(tmp_path):
    """What the machine does is not known any more (another program's engine wrote the file, say): finding out takes seconds."""
    for name in os.listdir(MODELS):
        if name.startswith(SMALL_MODEL) and not name.endswith("rates.json"):
            os.symlink(os.path.join(MODELS, name), tmp_path / name)
    with Program(args=("--embedding-model", "none"), env={"PARLEY_MODELS_DIR": str(tmp_path)}) as p:
        begin = greedy(p.setup())
        assert len(events(p, "engine.measured")) == 1
        (rates,) = tmp_path.glob("*.rates.json")  # named by the form that runs fastest on this machine
        for victim in ("engine", "supervisor"):
            f = begin()
            f.read(until=lambda f=f: len(f.text) > 20)
            seen = f.text
            os.remove(rates)
            before = p.processes()
            p.kill(victim)
            if victim == "supervisor":
                p.child.wait()
                p.start()
            f.read()
            assert f.last["status"] == "complete" and f.text.startswith(seen), victim
            ended = events(p, "supervisor.child_ended")
            assert [(e["child"], e["child_pid"], e["restart_in_ms"]) for e in ended if e["child_pid"] == before["engine"]] == (
                [("engine", before["engine"], 0)] if victim == "engine" else [])
            assert len(events(p, "engine.measured")) == 1, victim
            rates.touch()
