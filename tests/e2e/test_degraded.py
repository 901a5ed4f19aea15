"""Under load less is done for an answer, in order, and whoever gets less is told so."""

import json

import pytest
from harness import ApiError, Program, wait_for
from mock_upstream import MODELS, MockUpstream, embed_words

SMALL = {"id": "mock-small", "object": "model", "created": 1, "owned_by": "tests", "parley": {"kind": "chat", "context_window": 4096}}
PLACES = 10


@pytest.fixture
def crowded():
    """A server with ten places, an administrator, and a way to fill places with answers that are held."""
    mock = MockUpstream()
    mock.models, mock.embed = [*MODELS, SMALL], lambda text: embed_words(text)
    args = ("--max-running", str(PLACES), "--max-running-per-user", str(PLACES), "--fallback-model", "mock-small", "--titles", "off")
    with Program(upstream=mock.url, args=args, degrade=True) as program:
        admin = program.setup()
        held = []

        def hold(n):
            wait_for(lambda: metric(admin, "parley_turns_running") == len(held), "the places of those who are through")
            for _ in range(n):
                s = admin.stream("POST", f"/api/v1/conversations/{admin.conversation()}/messages", {"content": "wait [hold] [words: 3]"})
                events = iter(s)
                while next(events)["event"] != "token":
                    pass
                held.append(s)

        try:
            yield program, mock, admin, hold
        finally:
            mock.released.set()
            for s in held:
                s.close()
    mock.close()


def metric(admin, name):
    _, _, text = admin.raw("GET", "/metrics", headers={"Accept": "text/plain"})
    return next(float(line.split()[1]) for line in text.decode().splitlines() if line.startswith(name + " "))


def post(admin, text):
    status, headers, body = admin.raw("POST", f"/api/v1/conversations/{admin.conversation()}/messages", {"content": text})
    return status, headers, json.loads(body)


def post_at(admin, level, text):
    """At that level. Lateness raises it, too, for two seconds at least: when the machine was held up just then it is tried again."""
    while True:
        wait_for(lambda: metric(admin, "parley_degraded_level") <= level, "the end of a higher level")
        got = post(admin, text)
        if metric(admin, "parley_degraded_level") == level:
            return got


def test_less_is_done_in_order_and_said(crowded):
    program, mock, admin, hold = crowded
    status, headers, answer = post_at(admin, 0, "calm [say: all of it]")
    assert status == 201 and "degraded" not in answer and headers["X-Parley-Degraded"] is None
    assert mock.chats()[-1].get("model") != "mock-small"

    hold(7)  # the eighth finds 80 % of the places taken: passages, but the model stays
    _, _, answer = post_at(admin, 2, "busy [say: still large]")
    assert "degraded" not in answer  # there are no documents that could be left out
    assert mock.chats()[-1].get("model") != "mock-small"

    hold(1)
    before = metric(admin, "parley_turns_degraded_total")
    status, headers, answer = post(admin, "busier [say: small]")
    assert status == 201 and answer["degraded"] == ["model"] and headers["X-Parley-Degraded"] == "model"
    assert mock.chats()[-1]["model"] == "mock-small" and answer["message"]["model"] == "mock-small"
    events, _ = admin.say(admin.conversation(), "streamed [say: small, too]")
    notice = next(e for e in events if e["event"] == "notice")
    assert notice["data"]["degraded"] == ["model"] and "smaller model" in notice["data"]["message"]
    assert events[-1]["data"]["degraded"] == ["model"]
    assert metric(admin, "parley_turns_degraded_total") == before + 2

    mock.released.set()
    wait_for(lambda: metric(admin, "parley_degraded_level") == 0, "the end of the load")
    _, _, answer = post_at(admin, 0, "calm again [say: all]")
    assert "degraded" not in answer


def test_at_the_last_only_approved_answers_are_given(crowded):
    program, mock, admin, hold = crowded
    role = admin.get("/api/v1/roles")["data"][0]["role_id"]
    admin.post("/api/v1/learning/answers", {"role_id": role, "question": "When does the shop in Bonn open?", "answer": "At nine."})
    c = {"assistant_role_id": role}

    def ask(text):
        conversation = admin.post("/api/v1/conversations", c)["conversation_id"]
        return admin.post(f"/api/v1/conversations/{conversation}/messages", {"content": text})

    def all_but_held_are_through():
        wait_for(lambda: metric(admin, "parley_turns_running") == 9, "the places of those who are through")

    wait_for(lambda: ask("When does the shop in Bonn open?")["message"]["finish_reason"] == "approved", "the approved answer")
    hold(9)
    all_but_held_are_through()
    answer = ask("When does the shop in Bonn open?")
    assert answer["message"]["content"] == "At nine." and answer["degraded"] == ["approved_only"]
    all_but_held_are_through()  # with all ten places taken it would be refused for that
    with pytest.raises(ApiError) as refused:
        ask("What is the weather like in Rome?")
    assert refused.value.status == 429 and "approved" in refused.value.body["error"]["message"]
    assert int(refused.value.headers["Retry-After"]) >= 1
