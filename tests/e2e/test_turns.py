"""The main job: turns, branches, streams, and what one user may see of another."""

import json
import threading

import pytest
from harness import ApiError, Client, wait_for


def contents(chat):
    return [m["content"] for m in chat["messages"]]


def last_chat(mock, containing):
    return [c for c in mock.chats() if any(containing in m["content"] for m in c["messages"])][-1]


def test_third_prompt_holds_first_turn(program, mock, user):
    c = user.conversation("travel-assistant")
    for text in ("My name is Ada and I like trains.", "Where should I go in May?", "What is my name?"):
        events, message = user.say(c, text)
        assert events[0]["event"] == "created" and events[-1]["event"] == "done"
        ids = [e["id"] for e in events]
        assert ids == sorted(set(ids)) and ids[0] == 1
        assert message["status"] == "complete" and message["response_latency_ms"] >= message["ttft_ms"] >= 0
    sent = last_chat(mock, "What is my name?")
    role = next(r for r in user.get("/api/v1/roles")["data"] if r["slug"] == "travel-assistant")
    assert sent["messages"][0] == {"role": "system", "content": role["system_prompt"]}
    assert "My name is Ada and I like trains." in contents(sent)
    assert "You said: My name is Ada and I like trains." in contents(sent)
    stored = user.get(f"/api/v1/conversations/{c}/messages")["data"]
    assert [m["sender"] for m in stored] == ["user", "assistant"] * 3
    assert stored[-1]["role_version"] == role["version"]


def test_json_answer_when_events_are_not_accepted(user):
    c = user.conversation()
    answer = user.post(f"/api/v1/conversations/{c}/messages", {"content": "hello [say: hi there]"})
    assert answer["message"]["content"] == "hi there"
    assert answer["user_message"]["content"].startswith("hello")


def test_edit_and_regenerate_make_branches(mock, user):
    c = user.conversation()
    user.say(c, "first [say: one]")
    events, answer = user.say(c, "second question")
    asked = events[0]["data"]["user_message"]
    _, edited = user.say(c, "second, edited", parent_id=asked["parent_id"])
    assert contents(last_chat(mock, "second, edited"))[-3:] == ["first [say: one]", "one", "second, edited"]
    s = user.stream("POST", f"/api/v1/messages/{answer['message_id']}/regenerate", {})
    again = list(s)[-1]["data"]["message"]
    assert again["parent_id"] == answer["parent_id"] and again["message_id"] != answer["message_id"]
    assert user.get(f"/api/v1/conversations/{c}")["current_message_id"] == again["message_id"]
    user.call("PATCH", f"/api/v1/conversations/{c}", {"current_message_id": edited["message_id"]})
    user.say(c, "third on the edited branch")
    assert "second question" not in contents(last_chat(mock, "third on the edited branch"))


def test_stop_keeps_the_text(mock, user):
    mock.held.clear(), mock.released.clear(), mock.gone.clear()
    c = user.conversation()
    s = user.stream("POST", f"/api/v1/conversations/{c}/messages", {"content": "[hold] [words: 40]"})
    it, seen = iter(s), []
    while not seen or seen[-1]["event"] != "token":
        seen.append(next(it))
    message_id = seen[0]["data"]["message"]["message_id"]
    stopped = user.post(f"/api/v1/messages/{message_id}/stop")
    assert stopped["status"] == "stopped" and stopped["content"].startswith("word0")
    rest = list(it)
    assert rest[-1]["event"] == "done" and rest[-1]["data"]["message"]["status"] == "stopped"
    mock.released.set()


def test_leaving_does_not_stop_and_attaching_resumes(mock, user):
    mock.held.clear(), mock.released.clear()
    c = user.conversation()
    s = user.stream("POST", f"/api/v1/conversations/{c}/messages", {"content": "[hold] [words: 5]"})
    it = iter(s)
    created = next(it)
    first = next(e for e in it if e["event"] == "token")
    s.close()
    mock.released.set()
    message_id = created["data"]["message"]["message_id"]
    wait_for(lambda: user.get(f"/api/v1/messages/{message_id}")["status"] == "complete", "the answer")
    back = list(user.stream("GET", f"/api/v1/messages/{message_id}/events", headers={"Last-Event-ID": str(first["id"])}))
    assert back[0]["id"] > first["id"] and back[-1]["event"] == "done"
    text = first["data"]["text"] + "".join(e["data"]["text"] for e in back if e["event"] == "token")
    assert text == "word0 word1 word2 word3 word4"


def test_upstream_failures_are_said_and_kept(user):
    c = user.conversation()
    events, message = user.say(c, "[status: 500]")
    assert events[-1]["event"] == "error" and message["status"] == "failed"
    assert events[-1]["data"]["error"]["message"]
    events, message = user.say(c, "Please count to nine. [words: 9] [break: 3]")  # asked for the rest each time
    assert events[-1]["event"] == "done" and message["content"] == " ".join(f"word{i}" for i in range(9))
    events, message = user.say(c, "Please count once more. [words: 9] [break: 0]")  # never a word
    assert events[-1]["event"] == "error" and message["status"] == "failed"
    events, message = user.say(c, "still [say: fine]")
    assert message["content"] == "fine"


def test_when_to_come_back_is_what_the_model_server_said(user):
    path = f"/api/v1/conversations/{user.conversation()}/messages"
    for status in (429, 503):
        got, headers, text = user.raw("POST", path, {"content": f"[status: {status}]"})
        assert (got, headers["Retry-After"], json.loads(text)["error"]["retry_after_ms"]) == (status, "7", 7000)


def test_another_users_things_do_not_exist(program, user):
    c = user.conversation()
    _, message = user.say(c, "a secret [say: kept]")
    user.call("PUT", f"/api/v1/messages/{message['message_id']}/feedback", {"rating": "thumbs_up"})
    doc = user.post("/api/v1/documents", {"source_name": "diary", "content": "private words"})
    other = program.sign_up("other-" + c[-12:])
    mid = message["message_id"]
    for method, path, body in [
        ("GET", f"/api/v1/conversations/{c}", None), ("GET", f"/api/v1/conversations/{c}/messages", None),
        ("PATCH", f"/api/v1/conversations/{c}", {"title": "mine"}), ("DELETE", f"/api/v1/conversations/{c}", None),
        ("POST", f"/api/v1/conversations/{c}/messages", {"content": "hi"}), ("GET", f"/api/v1/messages/{mid}", None),
        ("GET", f"/api/v1/messages/{mid}/events", None), ("POST", f"/api/v1/messages/{mid}/stop", {}),
        ("POST", f"/api/v1/messages/{mid}/regenerate", {}), ("PUT", f"/api/v1/messages/{mid}/feedback", {"rating": "neutral"}),
        ("DELETE", f"/api/v1/messages/{mid}/feedback", None), ("GET", f"/api/v1/documents/{doc['doc_id']}", None),
        ("DELETE", f"/api/v1/documents/{doc['doc_id']}", None),
    ]:
        for who in (other, program.admin):
            with pytest.raises(ApiError) as e:
                who.call(method, path, body)
            assert e.value.status == 404, (method, path, e.value)
    wait_for(lambda: user.get("/api/v1/conversations?q=secret")["data"], "the words in the index")
    assert other.get("/api/v1/conversations?q=secret")["data"] == []
    assert len(user.get("/api/v1/conversations/" + c + "/messages")["data"]) == 2


def test_signed_out_and_revoked_get_401(program, user):
    key = user.post("/api/v1/keys", {"name": "laptop"})
    by_key = Client(program.port, key=key["key"])
    assert by_key.get("/api/v1/users/me")["username"] == user.user["username"]
    user.call("DELETE", f"/api/v1/keys/{key['key_id']}")
    for who in (by_key, Client(program.port), Client(program.port, key="parley_nonsense")):
        with pytest.raises(ApiError) as e:
            who.get("/api/v1/conversations")
        assert e.value.status == 401 and e.value.error["message"]


def test_role_versions_are_kept_and_recorded(program, user):
    role = program.admin.post("/api/v1/roles", {"name": "Poet " + user.user["user_id"][-6:], "system_prompt": "Answer in rhyme."})
    c = user.conversation(role["slug"])
    _, one = user.say(c, "hello")
    program.admin.call("PATCH", f"/api/v1/roles/{role['role_id']}", {"system_prompt": "Answer in prose."})
    _, two = user.say(c, "hello again")
    assert (one["role_version"], two["role_version"]) == (1, 2)
    versions = program.admin.get(f"/api/v1/roles/{role['role_id']}/versions")["data"]
    assert [v["system_prompt"] for v in versions] == ["Answer in prose.", "Answer in rhyme."]
    with pytest.raises(ApiError) as e:
        user.post("/api/v1/roles", {"name": "mine", "system_prompt": "x"})
    assert e.value.status == 403


def test_conversations_list_search_archive(user):
    ids = [user.conversation() for _ in range(3)]
    user.say(ids[0], "the quick marmot [say: jumps over the fence]")
    user.say(ids[1], "something else")
    listed = user.get("/api/v1/conversations?limit=2")
    assert len(listed["data"]) == 2 and listed["next"]
    rest = user.get(f"/api/v1/conversations?limit=2&after={listed['next']}")
    assert {x["conversation_id"] for x in listed["data"] + rest["data"]} == set(ids)
    for words in ("fence", "marm"):  # answers can be found a moment after they are there
        wait_for(lambda words=words: [x["conversation_id"] for x in user.get(f"/api/v1/conversations?q={words}")["data"]] == [ids[0]], words)
    user.call("PATCH", f"/api/v1/conversations/{ids[0]}", {"status": "archived", "title": "Marmots"})
    assert ids[0] not in [x["conversation_id"] for x in user.get("/api/v1/conversations")["data"]]
    assert [x["title"] for x in user.get("/api/v1/conversations?status=archived")["data"]] == ["Marmots"]
    user.call("DELETE", f"/api/v1/conversations/{ids[0]}")
    with pytest.raises(ApiError):
        user.get(f"/api/v1/conversations/{ids[0]}")


def test_feedback_once_per_message_and_exported(program, user):
    c = user.conversation()
    _, m = user.say(c, "rate this [say: please]")
    path = f"/api/v1/messages/{m['message_id']}/feedback"
    one = user.call("PUT", path, {"rating": "thumbs_up"})
    two = user.call("PUT", path, {"rating": "thumbs_down", "comment": "changed my mind"})
    assert one["feedback_id"] == two["feedback_id"] and two["rating"] == "thumbs_down"
    rows = [r for r in program.admin.get("/api/v1/feedback")["data"] if r["message_id"] == m["message_id"]]
    assert len(rows) == 1 and rows[0]["comment"] == "changed my mind" and rows[0]["answer"] == "please"
    status, headers, text = program.admin.raw("GET", "/api/v1/feedback/export")
    assert status == 200 and "ndjson" in headers["Content-Type"] and m["message_id"].encode() in text
    with pytest.raises(ApiError) as e:
        user.call("PUT", path, {"rating": "great"})
    assert e.value.status == 400 and e.value.error["param"] == "rating"


def test_many_users_at_once_each_get_their_own(program):
    users = [program.sign_up(f"crowd{i}") for i in range(12)]
    failed = []

    def go(i, u):
        try:
            c = u.conversation()
            for n in range(3):
                _, m = u.say(c, f"[say: user {i} turn {n}]")
                assert m["content"] == f"user {i} turn {n}"
        except Exception as e:  # noqa: BLE001
            failed.append(e)

    threads = [threading.Thread(target=go, args=x) for x in enumerate(users)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed
