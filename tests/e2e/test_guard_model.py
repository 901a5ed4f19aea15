"""A guard model on an upstream of its own is asked about what the guard is uncertain of, on every path; the policy of this test is
uncertain about made-up phrases."""

import json
import os
import subprocess
import threading

import pytest
from harness import BINARY, Program, wait_for
from mock_upstream import MockUpstream

OFF = {"annotate": None, "warn": None, "block": None}
CATEGORIES = ["hate", "harassment", "violence", "self_harm", "sexual", "sexual_minors", "illicit", "privacy", "prompt_injection", "jailbreak"]
POLICY = {
    "context_turns": 4,
    "uncertain": {"from": 0.5, "to": 0.8},
    "categories": {**{c: OFF for c in CATEGORIES}, "illicit": {"block": 0.9}},
    "pii": {"credit_card": {"input": "redact", "output": "annotate", "passage": "annotate"}},
    "refusals": {"default": "That is refused."},
    "restore": True,
    "rules": [
        {"id": "test.question", "category": "illicit", "score": 0.6, "on": ["input"], "match": ["juggling chainsaws"]},
        {"id": "test.answer", "category": "illicit", "score": 0.6, "on": ["output"], "match": ["the heron whispers"]},
    ],
}
QUESTION = "is juggling chainsaws fun?"


@pytest.fixture(scope="module")
def judge():
    m = MockUpstream()
    yield m
    m.close()


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    path = tmp_path_factory.mktemp("policy") / "policy.json"
    path.write_text(json.dumps(POLICY))
    return str(path)


def serve(mock, policy, url, *more):
    return Program(upstream=mock.url, args=["--guard-policy", policy, "--guard-upstream", url, *more])


@pytest.fixture(scope="module")
def asked(mock, judge, policy):
    """A guard model that answers: long is waited for it."""
    with serve(mock, policy, judge.url, "--guard-timeout-ms", "60000") as p:
        p.admin = p.setup()
        yield p


@pytest.fixture(scope="module", params=["allow", "block"])
def unanswered(request, mock, judge, policy):
    """A guard model that does not answer in time."""
    with serve(mock, policy, judge.url, "--guard-timeout-ms", "50", "--guard-fallback", request.param) as p:
        p.admin, p.fallback = p.setup(), request.param
        yield p


# ---- each path: (what the reader sees, whether it says that it was filtered) ----

def native(p, text):
    _, answer = p.admin.say(p.admin.conversation(), text)
    return answer["content"], answer["finish_reason"] == "content_filter"


def completion(p, text, **more):
    messages = [{"role": "user", "content": text}]
    choice = p.admin.post("/v1/chat/completions", {"model": "mock-chat", "messages": messages, **more})["choices"][0]
    return choice["message"]["content"], choice["finish_reason"] == "content_filter"


def streamed_completion(p, text):
    messages = [{"role": "user", "content": text}]
    s = p.admin.stream("POST", "/v1/chat/completions", {"model": "mock-chat", "stream": True, "messages": messages})
    choices = [c for e in s if e["data"] != "[DONE]" for c in e["data"]["choices"]]
    s.close()
    return "".join(c["delta"].get("content") or "" for c in choices), "content_filter" in [c["finish_reason"] for c in choices]


def seen_of(response):
    text = "".join(c.get("text", "") for o in response["output"] for c in o.get("content", []))
    return text, response["incomplete_details"] == {"reason": "content_filter"}


def response(p, text):
    return seen_of(p.admin.post("/v1/responses", {"model": "mock-chat", "input": text}))


def streamed_response(p, text):
    s = p.admin.stream("POST", "/v1/responses", {"model": "mock-chat", "stream": True, "input": text})
    last = [e["data"] for e in s if isinstance(e["data"], dict)][-1]
    s.close()
    return seen_of(last["response"])


def terminal(p, text):
    key = p.admin.post("/api/v1/keys", {"name": "terminal"})["key"]
    done = subprocess.run([BINARY, "chat", "--server", p.url, "--once", text], capture_output=True, text=True, timeout=300, check=False,
                          env={**os.environ, "HOME": p.work, "PARLEY_KEY": key})
    assert done.returncode == 0, done.stderr
    shown = done.stdout.strip()
    return shown, shown == "That is refused."


PATHS = [native, completion, streamed_completion, response, streamed_response, terminal]
numbers = iter(range(10000))


def question():
    """Each is another text: what was said of one is known again."""
    return f"{QUESTION} number {next(numbers)}"


def read_by(judge, text):
    with judge.lock:
        return [r["body"]["messages"] for r in judge.requests if text in json.dumps(r["body"]["messages"])]


@pytest.mark.parametrize("path", PATHS)
def test_question_is_decided_by_the_guard_model(asked, mock, judge, path):
    judge.reply = "unsafe\nS9"
    text = question()
    assert path(asked, text) == ("That is refused.", True)
    assert read_by(judge, text) == [[{"role": "user", "content": text}]]
    judge.reply = "safe"
    text = question()
    assert path(asked, text) == (f"You said: {text}", False)
    assert len(read_by(judge, text)) == 1
    assert path(asked, "is juggling balls fun?") == ("You said: is juggling balls fun?", False)  # certain: not asked about
    assert not read_by(judge, "balls")


@pytest.mark.parametrize("path", PATHS)
def test_silence_of_the_guard_model_leaves_it_to_the_fallback(unanswered, judge, path):
    text, judge.silent = question(), True
    try:
        shown = path(unanswered, text)
    finally:
        judge.silent = False
    assert shown == (("That is refused.", True) if unanswered.fallback == "block" else (f"You said: {text}", False))
    assert "guard.fallback" in unanswered.log()


@pytest.mark.parametrize("fallback", ["allow", "block"])
def test_dead_guard_model_leaves_it_to_the_fallback(mock, policy, fallback):
    gone = MockUpstream()
    gone.close()
    with serve(mock, policy, gone.url, "--guard-timeout-ms", "2000", "--guard-fallback", fallback) as p:
        p.admin = p.setup()
        for path in PATHS:
            text = question()
            assert path(p, text) == (("That is refused.", True) if fallback == "block" else (f"You said: {text}", False))


def test_whole_answer_is_decided_by_the_guard_model(asked, judge):
    for verdict, seen in (("unsafe\nS2", ("That is refused.", True)), ("safe", None)):
        judge.reply = verdict
        answer = f"the heron whispers {next(numbers)}"
        ask = f"[say: {answer}]"
        assert completion(asked, ask) == (seen or (answer, False))
        assert read_by(judge, answer) == [[{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]]
    case = asked.admin.get("/api/v1/safety/cases?state=open")["data"][0]
    assert case["text"].startswith("the heron whispers") and "guard:" in json.dumps(case)


@pytest.mark.parametrize("path", [native, streamed_completion, response])
def test_streamed_answer_is_not_asked_about(asked, judge, path):
    judge.reply = "unsafe\nS2"
    answer = f"the heron whispers {next(numbers)}"
    assert path(asked, f"[say: {answer}]") == (answer, False)
    assert not read_by(judge, answer)


def test_silence_about_a_whole_answer_leaves_it_to_the_fallback(unanswered, judge):
    answer, judge.silent = f"the heron whispers {next(numbers)}", True
    try:
        shown = completion(unanswered, f"[say: {answer}]")
    finally:
        judge.silent = False
    assert shown == (("That is refused.", True) if unanswered.fallback == "block" else (answer, False))


@pytest.mark.parametrize("fallback,verdict,refused", [("allow", "unsafe\nS9", True), ("allow", "safe", False), ("block", "safe", True)])
def test_long_text_is_read_in_part(mock, judge, policy, fallback, verdict, refused):
    """That its beginning is harmless says nothing of the rest."""
    with serve(mock, policy, judge.url, "--guard-timeout-ms", "60000", "--guard-fallback", fallback) as p:
        p.admin, judge.reply = p.setup(), verdict
        text = f"{question()} {'and so on ' * 14000}"
        shown, filtered = completion(p, text)
    assert filtered == refused and shown.startswith("That is refused." if refused else "You said: is juggling")
    assert len(read_by(judge, text[:100])) == 1


def test_earlier_messages_of_a_client_are_asked_about_once(asked, judge):
    judge.reply = "safe"
    first, last = question(), question()

    def answered(*texts):
        messages = [m for t in texts for m in ({"role": "user", "content": t}, {"role": "assistant", "content": "Well."})]
        answer = asked.admin.post("/v1/chat/completions", {"model": "mock-chat", "messages": messages[:-1]})
        return answer["choices"][0]["finish_reason"]

    assert answered(first) == answered(first, last) == answered(first, last, "thanks") == "stop"
    assert [[m["content"] for m in r] for r in read_by(judge, first)] == [[first], [first, "Well.", last]]
    judge.reply = "unsafe\nS9"
    hidden = question()
    assert answered(hidden, "and how?") == "content_filter"  # before the newest one, too
    assert answered(first, last, "thanks") == "stop"


def chat(p, *messages):
    """The roles of the messages take turns; the last one is the person's."""
    roles = ["assistant", "user"]
    turns = [{"role": roles[(len(messages) - i) % 2], "content": m} for i, m in enumerate(messages)]
    return p.admin.post("/v1/chat/completions", {"model": "mock-chat", "messages": turns})["choices"][0]


@pytest.mark.parametrize("native_path", [True, False])
def test_the_talk_is_read_before_the_question(asked, judge, native_path):
    judge.reply = "safe"
    n, text = next(numbers), question()
    first, said = f"my card {n} is 4111 1111 1111 1111", f"Well {n}."
    if native_path:
        conversation = asked.admin.conversation()
        asked.admin.say(conversation, f"[say: {said}] {first}")
        asked.admin.say(conversation, text)
    else:
        chat(asked, first, f"{said} 4111 1111 1111 1111", text)
        said += " [CARD_1]"  # the model reads no value of theirs either
    read = read_by(judge, text)
    assert len(read) == 1 and [m["role"] for m in read[0]] == ["user", "assistant", "user"]
    assert f"my card {n} is [CARD_1]" in read[0][0]["content"] and "4111" not in json.dumps(read)
    assert [m["content"] for m in read[0][1:]] == [said, text]


def test_what_was_said_of_a_text_is_of_its_talk(asked, judge):
    text, judge.reply = question(), "safe"
    assert chat(asked, "hello", "Well.", text)["finish_reason"] == "stop"
    assert chat(asked, "hello", "Well.", text)["finish_reason"] == "stop"
    assert len(read_by(judge, text)) == 1
    judge.reply = "unsafe\nS9"
    assert chat(asked, "another talk", "Well.", text)["finish_reason"] == "content_filter"
    assert len(read_by(judge, text)) == 2


def test_the_talk_is_read_before_a_whole_answer(asked, judge):
    judge.reply = "safe"
    answer = f"the heron whispers {next(numbers)}"
    ask = f"[say: {answer}]"
    assert chat(asked, "hello", "Well.", ask)["message"]["content"] == answer
    assert [[m["content"] for m in r] for r in read_by(judge, answer)] == [["hello", "Well.", ask, answer]]


def verdict_of(p, text, person=None):
    person = person or p.admin
    _, answer = person.say(person.conversation(), text)
    return person.get(f"/api/v1/conversations/{answer['conversation_id']}/messages")["data"][0]["safety"]


def test_harm_of_a_kind_that_the_policy_never_blocks_is_recorded(asked, judge):
    judge.reply = "unsafe\nS10"
    verdict = verdict_of(asked, question())
    found = [f for f in verdict["findings"] if f["source"].startswith("guard:")]
    assert verdict["action"] == "annotate" and [(f["category"], f["action"]) for f in found] == [("hate", "annotate")]
    judge.reply = "unsafe\nS10,S9"  # the worst of all that are named
    verdict = verdict_of(asked, question())
    assert verdict["action"] == "block" and verdict["category"] == "illicit"


def metric(p, name):
    lines = p.admin.raw("GET", "/metrics")[2].decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name + " "))


def test_guard_model_that_does_not_answer_is_left_alone(mock, judge, policy):
    with serve(mock, policy, judge.url, "--guard-timeout-ms", "50") as p:
        p.admin, judge.silent = p.setup(), True
        try:
            other = p.sign_up("other")
            for person in [p.admin] * 5 + [other]:
                assert metric(p, "parley_guard_circuit_open") == 0  # one person alone does not put it off
                assert verdict_of(p, question(), person)["findings"][0]["source"] in ("fallback:late", "fallback:failed")
            assert metric(p, "parley_guard_circuit_open") == 1
            text = question()
            verdict = verdict_of(p, text)
        finally:
            judge.silent = False
        assert verdict["degraded"] and verdict["findings"][0]["source"] == "fallback:left_alone"
        assert not read_by(judge, text)
        assert metric(p, "parley_guard_asked_total") == 6 and metric(p, "parley_guard_fallbacks_total") == 7
        assert metric(p, "parley_guard_circuit_opened_total") == 1 and metric(p, "parley_guard_asks") == 0


def test_of_one_person_so_many_are_asked_about_at_once(mock, policy):
    """Two requests of eight doubtful messages each wait; the next one's go by the fallback."""
    silent = MockUpstream()
    silent.silent = True
    ends = []
    with serve(mock, policy, silent.url, "--guard-timeout-ms", "60000", "--guard-fallback", "block") as p:
        p.admin = p.setup()

        def request():
            ends.append(chat(p, *[x for _ in range(8) for x in (question(), "Well.")][:-1])["finish_reason"])

        waiting = [threading.Thread(target=request) for _ in range(2)]
        try:
            for t in waiting:
                t.start()
            wait_for(lambda: metric(p, "parley_guard_asks") == 16, "sixteen requests under way")
            assert chat(p, question())["finish_reason"] == "content_filter" and not ends
            assert metric(p, "parley_guard_asks_over_total") == 1 and metric(p, "parley_guard_asked_total") == 16
        finally:
            silent.close()
            for t in waiting:
                t.join()
        assert ends == ["content_filter"] * 2 and metric(p, "parley_guard_asks") == 0


@pytest.mark.parametrize("path", [native, completion, streamed_completion])
def test_guard_model_reads_placeholders(asked, mock, judge, path):
    judge.reply = "safe"
    text = f"{question()} my card is 4111 1111 1111 1111"
    assert path(asked, text) == (f"You said: {text}", False)
    read = read_by(judge, text.split(" my")[0])
    assert len(read) == 1 and "[CARD_1]" in json.dumps(read) and "4111" not in json.dumps(read)
