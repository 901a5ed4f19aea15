"""The engine by itself, with SmolLM2, as a model server: what its API promises, and what clients may do to it."""

import asyncio
import http.client
import json
import os
import resource
import signal
import subprocess
import urllib.request

import pytest

from harness import BINARY, SMALL_MODEL, Client, Program, free_port, wait_for

WINDOW = 256
SLOTS = 2
CHAT = "/v1/chat/completions"
OF = {"layers_of": "parley-guard-6"}  # asks for layers, and says whose


class Engine:
    def __init__(self, window=WINDOW, embedding="none"):
        self.port = free_port()
        self.child = subprocess.Popen([BINARY, "engine", "--listen", f"127.0.0.1:{self.port}", "--model", SMALL_MODEL,
                                       "--embedding-model", embedding, "--context", str(window), "--slots", str(SLOTS), "--log-level", "warn"])
        self.client = Client(self.port)
        try:
            wait_for(self.ready, "the engine")
        except BaseException:
            self.stop()
            raise

    def ready(self):
        try:
            return self.client.raw("GET", "/health")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(300)
        finally:
            self.child.kill()
            self.child.wait()

    def metric(self, name):
        text = self.client.raw("GET", "/metrics")[2].decode()
        return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"parley_engine_{name} ")))

    def chat(self, content, wanted=200, **fields):
        body = {"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 24,
                "parley": {"deadline_ms": 0}, **fields}
        status, headers, text = self.client.raw("POST", CHAT, body)
        assert status == wanted, (status, text[:300])
        return json.loads(text)


@pytest.fixture(scope="module")
def engine():
    with Engine() as e:
        yield e


def text_of(answer):
    return answer["choices"][0]["message"]["content"]


def test_stop_string_across_tokens_ends_the_answer_before_it(engine):
    whole = text_of(engine.chat("Count from one to ten in words."))
    tokens = engine.chat("Count from one to ten in words.", logprobs=True)["choices"][0]["logprobs"]["content"]
    ends, at = [], 0
    for t in tokens:
        at += len(t["bytes"])
        ends.append(at)
    cut = next(e for e in ends if 6 <= e <= len(whole) - 4)  # a token ends here: the stop string spans it
    stop = whole[cut - 3:cut + 3]
    for stream in (False, True):
        before = whole[:whole.index(stop)]
        if not stream:
            answer = engine.chat("Count from one to ten in words.", stop=["never said", stop])
            assert text_of(answer) == before and answer["choices"][0]["finish_reason"] == "stop"
        else:
            status, _, text = engine.client.raw("POST", CHAT, {
                "messages": [{"role": "user", "content": "Count from one to ten in words."}], "temperature": 0, "max_tokens": 24,
                "stream": True, "stop": stop, "parley": {"deadline_ms": 0}})
            chunks = [json.loads(line[6:]) for line in text.decode().splitlines() if line.startswith("data: {")]
            assert status == 200 and "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == before
            assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_greedy_answer_cut_anywhere_is_continued_as_it_would_have_gone_on(engine):
    question = {"role": "user", "content": "Name three colours and say where they are seen."}
    whole = text_of(engine.chat(question["content"], max_tokens=30))
    for cut in (1, 7, 12, 20):
        rest = text_of(engine.chat("", max_tokens=40, messages=[question, {"role": "assistant", "content": whole[:cut]}],
                                   parley={"continue": True, "deadline_ms": 0}))
        # Sums of half floats depend on where cells lie, so that, rarely, a later token differs (docs/scheduler.md).
        assert (whole[:cut] + rest)[:cut + 6] == whole[:cut + 6], (cut, whole, rest)


def test_logprobs_are_of_the_token_said(engine):
    content = engine.chat("Say hello.", logprobs=True, top_logprobs=3)["choices"][0]["logprobs"]["content"]
    for token in content:
        assert len(token["top_logprobs"]) == 3 and token["logprob"] <= 0
        assert token["top_logprobs"][0]["token"] == token["token"]  # greedy
        assert token["top_logprobs"][0]["logprob"] >= token["top_logprobs"][2]["logprob"]


def test_logit_bias_forbids_and_is_checked(engine):
    first = engine.chat("Say hello.", logprobs=True)["choices"][0]["logprobs"]["content"][0]["token"]
    ids = range(1000, 1300)
    assert text_of(engine.chat("Say hello.", logit_bias={str(i): -100 for i in ids}))
    for bias in ({"49152": 1}, {"99999999": 1}, {"-1": 1}, {"5": 101}, {"5": -101}, {"5": "1"}, {"five": 1}, [1]):
        error = engine.chat("Say hello.", wanted=400, logit_bias=bias)["error"]
        assert error["param"] == "logit_bias" and error["type"] == "invalid_request_error", bias
    assert first


def test_prompt_of_the_windows_size_is_refused_and_one_less_answers(engine):
    def tokens(n):
        return engine.chat(" x" * n, max_tokens=1)["usage"]["prompt_tokens"]
    fill = WINDOW - 1 - tokens(100) + 100
    answer = engine.chat(" x" * fill, max_tokens=50, logit_bias={"0": -100, "2": -100})  # it cannot end by itself
    assert answer["usage"]["prompt_tokens"] == WINDOW - 1
    assert answer["choices"][0]["finish_reason"] == "length"  # never shifted in silence
    for more in (1, 2, 500):
        error = engine.chat(" x" * (fill + more), wanted=400)["error"]
        assert error["code"] == "context_length_exceeded" and str(WINDOW) in error["message"]


def test_empty_prompts(engine):
    assert engine.chat("")["choices"][0]["finish_reason"]
    for messages in ([], None, "hi", [{"role": "user"}], [{}]):
        assert engine.chat("", wanted=400, messages=messages)["error"]["type"] == "invalid_request_error"


def test_clients_that_vanish_leave_no_slot_taken(engine):
    streams = []
    for i in range(8):
        s = engine.client.stream("POST", CHAT, {"messages": [{"role": "user", "content": f"Tell story {i}, a long one."}],
                                                "stream": True, "parley": {"wait": True}})
        streams.append(s)
    for s in streams:
        s.close()
    wait_for(lambda: engine.metric("sequences_running") == 0 and engine.metric("requests_queued") == 0, "an empty engine")
    assert text_of(engine.chat("Say hello."))


def test_clients_that_vanish_while_their_prompts_are_read_leave_nothing(engine):
    for i in range(12):
        c = http.client.HTTPConnection("127.0.0.1", engine.port)
        c.request("POST", CHAT, json.dumps({"messages": [{"role": "user", "content": f"{i} is a number, " * 20000}]}))
        c.close()
    assert text_of(engine.chat("Say hello."))
    wait_for(lambda: engine.metric("sequences_running") == 0 and engine.metric("requests_queued") == 0, "an empty engine")


def test_engine_that_ends_while_prompts_are_read_ends_in_order():
    e, held = Engine(), []
    try:
        for _ in range(12):
            held.append(http.client.HTTPConnection("127.0.0.1", e.port))
            held[-1].request("POST", CHAT, json.dumps({"messages": [{"role": "user", "content": "a long text, " * 20000}]}))
    finally:
        e.stop()
    assert e.child.returncode == 0


def test_deadline_that_cannot_be_kept_is_refused_at_once_with_retry_after(engine):
    status, headers, text = engine.client.raw("POST", CHAT, {
        "messages": [{"role": "user", "content": " x" * 200}], "max_tokens": 1, "parley": {"deadline_ms": 1}})
    error = json.loads(text)["error"]
    assert status == 429 and error["code"] == "overloaded" and "alone" in error["message"]
    assert int(headers["Retry-After"]) >= 1 and int(headers["Retry-After-Ms"]) >= 100


def test_layers_of_texts_come_when_they_are_asked_for_alone_and_beside_others():
    with Engine(embedding="all-minilm-l6-v2") as e:
        def last(texts, parley):
            status, _, text = e.client.raw("POST", "/v1/embeddings", {"model": "all-minilm-l6-v2", "input": texts, "parley": parley})
            assert status == 200, text[:300]
            answer = json.loads(text)
            assert ("layers" in answer["data"][-1]) == (answer.get("layers_of") == OF["layers_of"])
            return answer["data"][-1]

        far = lambda a, b: max(abs(x - y) for x, y in zip(a, b))  # noqa: E731
        for unasked in ({}, {"layers": True}, {"layers_of": "parley-guard-5"}):  # true: versions before this one asked so
            assert "layers" not in last(["a cat"], unasked)
        alone, beside, other = (last(texts, OF) for texts in
                                (["a cat"], ["interest rates rose again this week", "a cat"], ["another thing altogether"]))
        assert len(alone["layers"]) == 5 * 384 and len(alone["embedding"]) == 384
        assert far(alone["layers"], beside["layers"]) < 0.05 < far(alone["layers"], other["layers"])
        # Each layer says something of its own.
        each = [alone["layers"][k:k + 384] for k in range(0, 1920, 384)] + [[0] * 384]
        assert all(far(a, b) > 0.05 for i, a in enumerate(each) for b in each[:i])


def test_long_lists_of_texts_are_embedded_like_single_ones_and_capped():
    with Engine(embedding="all-minilm-l6-v2") as e:
        def post(path, **body):
            status, _, text = e.client.raw("POST", path, body)
            return status, json.loads(text)

        texts = [f"text {i} of a long list, which says nothing else" for i in range(200)]
        status, many = post("/v1/embeddings", input=texts)
        assert status == 200 and [row["index"] for row in many["data"]] == list(range(200))
        one = post("/v1/embeddings", input=texts[150])[1]["data"][0]["embedding"]
        assert max(abs(a - b) for a, b in zip(one, many["data"][150]["embedding"])) < 0.01
        status, refused = post("/v1/embeddings", input=["cat"] * 2048, parley=OF)
        assert status == 400 and refused["error"]["param"] == "input" and "base64" in refused["error"]["message"]
        words = "a cat and a dog " * 1000
        status, counts = post("/v1/tokens/count", texts=[words, "a cat"])
        assert status == 200 and counts["counts"][0] > 3000 and counts["counts"][1] == 2
        # Who hangs up, and the engine's end, leave what is under way.
        for _ in range(4):
            c = http.client.HTTPConnection("127.0.0.1", e.port)
            c.request("POST", "/v1/embeddings", json.dumps({"input": [words] * 40}), {"Content-Type": "application/json"})
            c.close()
        assert post("/v1/embeddings", input="a cat")[0] == 200
        c.request("POST", "/v1/embeddings", json.dumps({"input": [words] * 40}), {"Content-Type": "application/json"})
    assert e.child.returncode == 0


def open_stream(engine, content, **fields):
    c = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=300)
    c.request("POST", CHAT, json.dumps({"messages": [{"role": "user", "content": content}], "stream": True,
                                        "parley": {"wait": True}, **fields}), {"Content-Type": "application/json"})
    return c


def test_waiting_stream_tells_its_place_and_then_answers():
    endless = {"logit_bias": {"0": -100, "2": -100}, "max_tokens": 3900}
    with Engine(window=4096) as engine:  # answers that are still being written when the last one has asked
        running = [open_stream(engine, f"Tell story {i}.", **endless) for i in range(SLOTS)]
        heads = [c.getresponse() for c in running]  # each has begun
        waiting = [open_stream(engine, "And me?", max_tokens=2) for _ in range(2)]
        answers = [c.getresponse() for c in waiting]
        assert [a.status for a in answers] == [200, 200] and [h.status for h in heads] == [200] * SLOTS
        assert sorted(a.readline() for a in answers) == [b': queued {"position":0}\n', b': queued {"position":1}\n']
        for c, h in zip(running, heads):
            h.close()
            c.close()
        for a in answers:
            assert a.read().rstrip().endswith(b"data: [DONE]")


async def ask_once(port, i):
    body = json.dumps({"messages": [{"role": "user", "content": f"Question {i}"}], "max_tokens": 4, "user": str(i % 50)}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
                 b"Content-Length: %d\r\n\r\n" % len(body) + body)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), b"Retry-After: " in head, json.loads(body)


def test_thousand_requests_at_once_are_each_answered_or_refused(engine):
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))  # a connection each

    async def all_of_them():
        return await asyncio.gather(*(ask_once(engine.port, i) for i in range(1000)))
    answers = asyncio.run(all_of_them())
    statuses = {status for status, _, _ in answers}
    assert statuses <= {200, 429}, statuses
    assert any(s == 200 for s, _, _ in answers)
    for status, retry, body in answers:
        assert (status == 429) == retry
        assert "choices" in body if status == 200 else body["error"]["code"] == "overloaded"
    wait_for(lambda: engine.metric("sequences_running") == 0 and engine.metric("requests_queued") == 0, "an empty engine")
    assert text_of(engine.chat("Say hello."))


def test_people_see_their_place_and_programs_are_told_to_come_back():
    """Through the whole program, with one slot and an answer that holds it until its reader leaves."""
    with Program(args=("--slots", "1")) as p:
        admin = p.setup()
        for role in admin.get("/api/v1/roles")["data"]:
            admin.call("PATCH", f"/api/v1/roles/{role['role_id']}", {"max_tokens": 40})
        bob = p.sign_up("bob")
        bob.key = bob.post("/api/v1/keys", {"name": "program"})["key"]
        first = admin.stream("POST", CHAT, {
            "model": SMALL_MODEL, "messages": [{"role": "user", "content": "Count slowly."}], "stream": True, "temperature": 0,
            "max_tokens": 1200, "logit_bias": {"0": -100, "2": -100}, "parley": {"wait": True}})
        next(iter(first))
        waiting = bob.stream("POST", f"/api/v1/conversations/{bob.conversation()}/messages", {"content": "Hello?"})
        seen = iter(waiting)
        told = []
        for e in seen:
            told.append(e)
            if e["event"] in ("queued", "token"):
                break
        assert told[-1]["event"] == "queued" and told[-1]["data"] == {"position": 0}, told
        body = {"model": SMALL_MODEL, "messages": [{"role": "user", "content": "And me?"}], "max_tokens": 3}
        key = {"Authorization": "Bearer " + bob.key}
        status, headers, text = Client(p.port).raw("POST", CHAT, body, key)
        assert status == 429 and json.loads(text)["error"]["code"] == "overloaded" and int(headers["Retry-After"]) >= 1
        assert "try again in" in json.loads(text)["error"]["message"]
        with urllib.request.urlopen(p.url + "/metrics") as r:
            metrics = r.read().decode()
        assert "\nparley_engine_requests_queued 1\n" in metrics and metrics.count("\nparley_engine_steps_total ") == 1
        first.close()
        assert [e["event"] for e in seen][-1] == "done"
        status, _, text = Client(p.port).raw("POST", CHAT, {**body, "parley": {"wait": True}}, key)
        assert status == 200, text
