"""Feedback that changes something: reasons, signals, records, variants, approved answers, analytics, exports."""

import csv
import io
import json
import os
import subprocess

import pytest
from harness import ApiError, Program, wait_for
from mock_upstream import MODELS, MockUpstream, embed_words


@pytest.fixture(scope="module")
def admin(program):
    return program.admin


def role_id(client, slug="general-assistant"):
    return next(r["role_id"] for r in client.get("/api/v1/roles")["data"] if r["slug"] == slug)


def rate(client, message, rating, **more):
    return client.call("PUT", f"/api/v1/messages/{message['message_id']}/feedback", {"rating": rating, **more})


def test_rating_takes_reasons_and_keeps_them(user):
    _, message = user.say(user.conversation(), "hello")
    given = rate(user, message, "thumbs_down", reasons=["wrong", "too_long"], comment="far too long, and wrong")
    assert given["reasons"] == ["wrong", "too_long"]
    again = user.get(f"/api/v1/messages/{message['message_id']}")
    assert again["feedback"]["reasons"] == ["wrong", "too_long"]
    with pytest.raises(ApiError) as e:
        rate(user, message, "thumbs_down", reasons=["ugly"])
    assert e.value.status == 400 and "wrong_source" in str(e.value.body)


def test_record_says_how_an_answer_came_about(user, admin):
    _, message = user.say(user.conversation(), "what is a record?")
    record = user.get(f"/api/v1/messages/{message['message_id']}/record")
    assert record["latency_ms"] >= record["ttft_ms"] >= 0 and record["variant_chance"] == 1
    assert record["record"]["finish_reason"] == "stop" and record["record"]["guard"] is not None
    user.call("POST", f"/api/v1/messages/{message['message_id']}/signals", {"kind": "copied"})
    for path in ("record", "signals"):
        with pytest.raises(ApiError) as e:
            if path == "record":
                admin.get(f"/api/v1/messages/{message['message_id']}/record")
            else:
                admin.post(f"/api/v1/messages/{message['message_id']}/signals", {"kind": "copied"})
        assert e.value.status == 404


def test_approved_answer_is_served_for_the_same_question_only(program, admin, user):
    made = admin.post("/api/v1/learning/answers", {"role_id": role_id(admin), "question": "When does the shop in Bonn open?",
                                                   "answer": "At nine."})
    assert made["state"] == "approved"

    def served():
        _, m = user.say(user.conversation("general-assistant"), "When does the shop in Bonn open?")
        return m["finish_reason"] == "approved" and m
    message = wait_for(served, "the approved answer")
    assert message["content"] == "At nine."
    _, other = user.say(user.conversation("general-assistant"), "When does the shop in Ulm open?")
    assert other["finish_reason"] != "approved"
    admin.call("PATCH", f"/api/v1/learning/answers/{made['answer_id']}", {"state": "retired"})
    _, gone = user.say(user.conversation("general-assistant"), "When does the shop in Bonn open?")
    assert gone["finish_reason"] != "approved"


def test_approved_answer_that_people_dislike_is_not_served_any_more(program, admin):
    question = "When does the museum in Trier open?"
    made = admin.post("/api/v1/learning/answers", {"role_id": role_id(admin), "question": question, "answer": "At midnight."})
    people = [program.sign_up(f"visitor{i}") for i in range(5)]

    def ask(person):
        return person.say(person.conversation("general-assistant"), question)[1]

    def state():
        return next(a for a in admin.get("/api/v1/learning/answers?limit=200")["data"] if a["answer_id"] == made["answer_id"])
    wait_for(lambda: ask(admin)["finish_reason"] == "approved", "the approved answer")
    for i, person in enumerate(people):  # of fewer than five the server's own look thinks nothing
        message = ask(person)
        assert message["finish_reason"] == "approved"
        assert (state()["state"], state()["rated"], state()["satisfaction"]) == ("approved", i, 0 if i else None)
        rate(person, message, "thumbs_down")
        rate(person, message, "thumbs_down")  # one voice for each person
    done = admin.post("/api/v1/learning/run")  # or the server's own look, if it was first
    assert "not served any more" in done["words"] or done["answers_stale"] == 0
    assert (state()["state"], state()["why"], state()["rated"]) == ("stale", "disliked", 5)
    assert ask(people[0])["finish_reason"] != "approved"
    assert any("of 5 people" in e["words"] for e in admin.get("/api/v1/learning/events?limit=200")["data"])
    again = admin.call("PATCH", f"/api/v1/learning/answers/{made['answer_id']}", {"state": "approved", "answer": "At ten."})
    assert (again["state"], again["why"]) == ("approved", None)
    wait_for(lambda: ask(people[0])["content"] == "At ten.", "the mended answer")
    assert admin.get("/api/v1/learning")["answer_days"] == 180
    assert admin.call("PATCH", "/api/v1/learning", {"answer_days": 90})["answer_days"] == 90
    with pytest.raises(ApiError) as e:
        admin.call("PATCH", "/api/v1/learning", {"answer_days": -1})
    assert e.value.status == 400
    admin.call("PATCH", f"/api/v1/learning/answers/{made['answer_id']}", {"state": "retired"})


def test_with_room_for_one_passage_the_second_best_is_tried_at_times():
    mock = MockUpstream()
    mock.embed = embed_words
    chat, embedding = MODELS
    mock.models = [{**chat, "parley": {**chat["parley"], "prefill_per_second": 120}}, embedding]  # a slow machine
    try:
        with Program(upstream=mock.url) as p:
            explores(p.setup())
    finally:
        mock.close()


def explores(admin):
    docs = [admin.post("/api/v1/documents", {"source_name": f"{season}.md", "shared": True, "content":
            f"# Waves in {season}\n\nThe waves of Nazare are {height} metres high in {season}, as the harbour has measured at the lighthouse."})["doc_id"]
            for season, height in (("winter", "thirty"), ("summer", "twenty"))]
    for doc in docs:
        wait_for(lambda: admin.get(f"/api/v1/documents/{doc}")["indexed_at"], "the index")

    def ask(i):
        _, m = admin.say(admin.conversation("general-assistant"), f"How high are the waves of Nazare, {i}?")
        record = admin.get(f"/api/v1/messages/{m['message_id']}/record")["record"]
        return m, record["passages"], record.get("pair")
    for i in range(20):  # it begins when people rate
        message, passages, pair = ask(i)
        assert len(passages) == 1 and pair is None
        rate(admin, message, "thumbs_up")
    assert admin.call("PATCH", "/api/v1/learning", {"explore": True})["explore"]
    seen = {}
    for i in range(150):
        _, passages, pair = ask(i)
        if pair:
            assert {passages[0]["doc_id"], pair["other"]["doc_id"]} == set(docs)
            assert pair["chance"] == (0.1 if pair["swapped"] else 0.9) and len(pair["other"]["signals"]) == 16
            seen[pair["swapped"]] = passages[0]["doc_id"]
        if len(seen) == 2:
            break
    assert seen[True] != seen[False]
    assert not admin.call("PATCH", "/api/v1/learning", {"explore": False})["explore"]
    assert ask(1)[2] is None


def test_private_documents_cannot_carry_an_approved_answer(user, admin):
    doc = admin.post("/api/v1/documents", {"source_name": "secret", "content": "only mine"})
    with pytest.raises(ApiError) as e:
        admin.post("/api/v1/learning/answers", {"role_id": role_id(admin), "question": "q", "answer": "a",
                                                "doc_ids": [doc["doc_id"]]})
    assert e.value.status == 400


def test_variant_is_tried_and_stopped(mock, admin, user):
    made = admin.post("/api/v1/learning/variants", {"role_id": role_id(admin, "code-helper"), "name": "terse",
                                                    "system_prompt": "Answer tersely."})
    seen = set()
    for i in range(40):
        user.say(user.conversation("code-helper"), f"variant question {i}")
        asked = [c for c in mock.chats() if c["messages"][-1]["content"] == f"variant question {i}"][-1]
        seen.add("tersely" in asked["messages"][0]["content"])
        if len(seen) == 2:
            break
    assert seen == {True, False}
    listed = admin.get("/api/v1/learning/variants")["data"]
    assert [v["name"] for v in listed] == ["as it is", "terse"] and sum(v["turns"] for v in listed) >= 2
    stopped = admin.call("PATCH", f"/api/v1/learning/variants/{made['variant_id']}", {"state": "stopped"})
    assert stopped["state"] == "stopped"
    with pytest.raises(ApiError) as e:
        admin.post("/api/v1/learning/variants", {"role_id": role_id(admin), "name": "nothing"})
    assert e.value.status == 400


def test_analytics_as_json_and_csv(admin, user):
    _, message = user.say(user.conversation(), "analyse me")
    rate(user, message, "thumbs_up")
    for by in ("role", "model", "version", "document", "day", "variant", "reason"):
        rows = admin.get(f"/api/v1/analytics?by={by}")["data"]
        assert all(0 <= r["low"] <= r["satisfaction"] <= r["high"] <= 1 for r in rows if r["rated"])
        assert rows or by in ("document",)
    status, headers, body = admin.raw("GET", "/api/v1/analytics?by=role&format=csv")
    assert status == 200 and "text/csv" in headers["Content-Type"]
    table = list(csv.DictReader(io.StringIO(body.decode() if isinstance(body, bytes) else body)))
    assert table and int(table[0]["turns"]) >= 1
    role = next(r["key"] for r in admin.get("/api/v1/analytics?by=role")["data"] if r["rated"])
    days = admin.get(f"/api/v1/analytics?by=day&of=role&key={role}")["data"]
    assert sum(d["rated"] for d in days) == next(r["rated"] for r in admin.get("/api/v1/analytics?by=role")["data"] if r["key"] == role)
    for of in ("model", "version", "document", "variant"):
        assert admin.get(f"/api/v1/analytics?by=day&of={of}&key=none")["data"] == []
    with pytest.raises(ApiError) as e:
        admin.get("/api/v1/analytics?by=day&of=role")
    assert e.value.status == 400
    for path, head in (("turns?which=worst", "message_id,at,role,question"), ("turns?which=unanswered", "message_id,"), ("documents?which=unused", "doc_id,")):
        status, headers, body = admin.raw("GET", f"/api/v1/analytics/{path}&format=csv")
        assert status == 200 and "text/csv" in headers["Content-Type"] and body.decode().startswith(head)
    assert admin.get("/api/v1/analytics/turns?which=worst")["data"][0]["rating"] == "thumbs_down"
    admin.get("/api/v1/analytics/turns?which=unanswered")
    admin.get("/api/v1/analytics/documents?which=disliked")
    themes = admin.get("/api/v1/learning/complaints")["data"]
    assert themes and themes[0]["advice"] and themes[0]["examples"]


def test_export_needs_consent_and_hides_personal_data(admin, user):
    _, message = user.say(user.conversation(), "write to ada@example.org please")
    rate(user, message, "thumbs_up")
    assert "ada@example.org" not in export(admin, "sft")
    user.call("PATCH", "/api/v1/users/me", {"preferences": {"training_consent": True}})
    lines = [json.loads(x) for x in export(admin, "sft").splitlines()]
    assert any("[EMAIL_1]" in x["messages"][-2]["content"] for x in lines)
    assert "ada@example.org" not in export(admin, "kto")
    # a follow-up question comes with what it follows, and a better answer to the same question makes a pair
    conversation = user.conversation()
    _, first = user.say(conversation, "When does the bakery open?")
    _, disliked = user.say(conversation, "And on Sundays?")
    rate(user, disliked, "thumbs_down", reasons=["wrong"])
    stream = user.stream("POST", f"/api/v1/messages/{disliked['message_id']}/regenerate", {})
    liked = next(e["data"]["message"] for e in stream if e["event"] == "done")
    stream.close()
    rate(user, liked, "thumbs_up")
    asked = ["When does the bakery open?", first["content"], "And on Sundays?"]
    sft = [json.loads(x)["messages"] for x in export(admin, "sft").splitlines()]
    assert [m["content"] for m in next(x for x in sft if x[-2]["content"] == asked[-1]) if m["role"] != "system"] == [*asked, liked["content"]]
    (pair,) = [x for x in map(json.loads, export(admin, "dpo").splitlines()) if x["prompt"][-1]["content"] == asked[-1]]
    assert [m["content"] for m in pair["prompt"] if m["role"] != "system"] == asked
    assert (pair["chosen"], pair["rejected"]) == ([{"role": "assistant", "content": liked["content"]}],
                                                  [{"role": "assistant", "content": disliked["content"]}])
    assert sorted(x["label"] for x in map(json.loads, export(admin, "kto").splitlines()) if x["prompt"][-1]["content"] == asked[-1]) == [False, True]


def export(admin, form):
    status, _, body = admin.raw("GET", f"/api/v1/learning/export?form={form}")
    assert status == 200
    return body.decode() if isinstance(body, bytes) else body


def test_learning_says_what_it_did(program, admin, user):
    state = admin.get("/api/v1/learning")
    assert state["ranker"] and state["share"] == 0
    done = admin.post("/api/v1/learning/run")
    assert not done["candidate"] and "rated answers" in done["words"]
    assert not admin.call("PATCH", "/api/v1/learning", {"ranker": False})["ranker"]
    out = subprocess.run([os.environ["PARLEY_BINARY"], "learn", "--data-dir", program.data, "--json"],
                         capture_output=True, text=True)
    assert out.returncode == 0 and "words" in json.loads(out.stdout)
    admin.call("PATCH", "/api/v1/learning", {"ranker": True})
    for path in ("", "/events", "/candidates", "/variants", "/answers", "/complaints", "/export"):
        with pytest.raises(ApiError) as e:
            user.get("/api/v1/learning" + path)
        assert e.value.status == 403
