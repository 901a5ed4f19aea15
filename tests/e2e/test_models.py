"""Weights that people add themselves: `parley model add`, and a LoRA adapter that a role asks for."""

import array
import json
import os
import random
import struct
import subprocess

import pytest
from harness import BINARY, SMALL_MODEL, Program

MODELS = os.environ.get("PARLEY_MODELS_DIR") or os.path.join(
    os.environ.get("PARLEY_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "parley"), "models")


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def write_adapter(path, layers=30, wide=1536, narrow=576, rank=4):
    """A LoRA on the small model's feed-forward layers that says something else: random numbers."""
    rng = random.Random(5)
    pairs = [("general.architecture", 8, text("llama")), ("general.type", 8, text("adapter")), ("adapter.type", 8, text("lora")),
             ("adapter.lora.alpha", 6, struct.pack("<f", 8.0))]
    table, data = b"", b""
    for layer in range(layers):
        for name, shape, scale in (("lora_a", (wide, rank), 0.05), ("lora_b", (rank, narrow), 0.08)):
            table += text(f"blk.{layer}.ffn_down.weight.{name}") + struct.pack("<IQQIQ", 2, *shape, 0, len(data))
            data += array.array("f", (rng.gauss(0, scale) for _ in range(shape[0] * shape[1]))).tobytes()
            data += b"\0" * (-len(data) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, layers * 2, len(pairs))
    head += b"".join(text(key) + struct.pack("<I", kind) + value for key, kind, value in pairs) + table
    with open(path, "wb") as f:
        f.write(head + b"\0" * (-len(head) % 32) + data)


@pytest.fixture
def folder(tmp_path):
    """A models folder with the small model in it."""
    models = tmp_path / "models"
    models.mkdir()
    with open(os.path.join(MODELS, SMALL_MODEL + ".json"), encoding="ascii") as f:
        record = f.read()
    (models / f"{SMALL_MODEL}.json").write_text(record)
    os.symlink(os.path.join(MODELS, json.loads(record)["file"]), models / json.loads(record)["file"])
    return models


def model(folder, *args):
    return subprocess.run([BINARY, "model", *args, "--models-dir", str(folder)], capture_output=True, text=True, timeout=300, check=False)


def test_what_is_no_model_is_not_added(folder, tmp_path):
    for name, content in (("noise.gguf", os.urandom(5000)), ("empty.gguf", b""), ("cut.gguf", b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 5))):
        (tmp_path / name).write_bytes(content)
        done = model(folder, "add", str(tmp_path / name))
        assert done.returncode == 1 and name in done.stderr, done
    assert model(folder, "add", "/nowhere/x.gguf").returncode == 1
    assert {model(folder, verb, "nothing").returncode for verb in ("remove", "use", "pull", "verify")} == {3}
    assert sorted(p.name for p in folder.iterdir() if p.suffix == ".json") == [SMALL_MODEL + ".json"]


def test_forms_of_what_is_not_here_are_not_found(folder):
    for name, word in (("nope", "there is no model nope"), ("qwen2.5-coder-0.5b-instruct", "model pull qwen2.5-coder-0.5b-instruct")):
        done = model(folder, "forms", name)
        assert done.returncode == 3 and word in done.stderr


def test_added_weights_forms_are_measured_shown_and_kept(folder, tmp_path):
    record = json.loads((folder / f"{SMALL_MODEL}.json").read_text())
    name = record["file"].removesuffix(".gguf").lower()
    done = model(folder, "add", str(folder / record["file"]))
    assert done.returncode == 0, done
    shown = [line for line in done.stderr.splitlines() if "perplexity" in line or "shipped" in line or "Q4_0  " in line]
    assert [line.removeprefix("[models] ").split()[0] for line in shown] == ["form", "Q8_0", "Q4_0"], done.stderr
    assert "as shipped" in shown[1] and sum("<- taken" in line for line in shown) == 1
    kept = json.loads((folder / "forms.json").read_text())
    assert [[form["form"] for form in forms] for forms in kept.values()] == [["Q8_0", "Q4_0"]]
    told = model(folder, "forms", name)
    assert told.returncode == 0 and all(line in told.stderr + told.stdout for line in shown), told
    assert model(folder, "remove", name).returncode == 0
    again = model(folder, "add", str(folder / record["file"]))
    assert again.returncode == 0 and "measured on this machine before" in again.stderr, again


def test_a_file_of_weights_is_the_model(folder, tmp_path):
    record = json.loads((folder / f"{SMALL_MODEL}.json").read_text())
    os.symlink(os.path.realpath(folder / record["file"]), tmp_path / "own weights.gguf")
    with Program(model=str(tmp_path / "own weights.gguf"), args=("--embedding-model", "none")) as p:
        admin = p.setup()
        role = admin.post("/api/v1/roles", {"name": "Short", "system_prompt": "You answer in few words.", "max_tokens": 8})
        answer = admin.say(admin.conversation(role["slug"]), "Name three fruits.")[1]
        assert answer["status"] == "complete" and answer["content"].strip()
        assert answer["model"] == admin.get("/api/v1/status")["model"]


def test_a_role_answers_with_its_adapter(folder, tmp_path):
    write_adapter(tmp_path / "Odd one.gguf")
    assert model(folder, "add", str(tmp_path / "Odd one.gguf")).returncode == 0
    assert "odd-one" in model(folder, "list").stdout
    assert model(folder, "use", "odd-one").returncode == 1
    (folder / "broken.json").write_text(json.dumps({"name": "broken"}))  # beside the others, and no model
    with Program(args=("--models-dir", str(folder), "--embedding-model", "none")) as p:
        admin = p.setup()
        name = f"{SMALL_MODEL}+odd-one"
        roles = [admin.post("/api/v1/roles", {"name": n, "system_prompt": "You answer in few words.", "temperature": 0, "max_tokens": 16, **more})
                 for n, more in (("Plain", {}), ("Odd", {"model": name}))]
        answers = []
        for role in roles + roles:
            answers.append(admin.say(admin.conversation(role["slug"]), "Name three fruits.")[1])
        assert [a["model"] for a in answers[:2]] == [SMALL_MODEL, name]
        assert answers[0]["content"] != answers[1]["content"]
        assert [a["content"] for a in answers[2:]] == [a["content"] for a in answers[:2]]
    assert model(folder, "remove", "odd-one").returncode == 0 and "odd-one" not in model(folder, "list").stdout
