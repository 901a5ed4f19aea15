"""OpenAI's Responses API with the official client: create, stream, follow again, go on, cancel, delete."""

import json

import openai
import pytest

ORDER = ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
END = ["response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed"]


@pytest.fixture
def client(program, user):
    key = user.post("/api/v1/keys", {"name": "responses"})["key"]
    return openai.OpenAI(base_url=program.url + "/v1", api_key=key, max_retries=0)


def test_created_whole_and_read_again(client):
    r = client.responses.create(model="travel-assistant", input="hello [say: Good day]")
    assert r.status == "completed" and r.output_text == "Good day" and r.usage.output_tokens == 2
    again = client.responses.retrieve(r.id)
    assert again.output_text == "Good day" and again.id == r.id
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_nonsense")
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="no-such-role", input="x")
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="travel-assistant", input="x", instructions="Be brief.")
    for bad in ({"": None}, 7, None, [], [{}], [{"role": "user"}], [{"role": "user", "content": {"a": 1}}], [{"role": "tool", "content": "x"}]):
        with pytest.raises(openai.BadRequestError):
            client.post("/responses", body={"input": bad}, cast_to=object)


def test_streamed_in_order_and_followed_from_every_number(client):
    events = list(client.responses.create(model="travel-assistant", input="[words: 6]", stream=True))
    types = [e.type for e in events]
    assert types[:4] == ORDER and types[-4:] == END
    assert set(types[4:-4]) == {"response.output_text.delta"}
    numbers = [e.sequence_number for e in events]
    assert numbers == sorted(set(numbers)) and numbers[:4] == [0, 1, 2, 3]
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == events[-1].response.output_text == "word0 word1 word2 word3 word4 word5"
    for i, e in enumerate(events[:-1]):
        rest = list(client.responses.retrieve(events[0].response.id, stream=True, starting_after=e.sequence_number))
        assert [x.sequence_number for x in rest][-1] == numbers[-1]
        assert all(x.sequence_number > e.sequence_number for x in rest)
        seen = "".join(x.delta for x in events[: i + 1] if x.type == "response.output_text.delta")
        assert seen + "".join(x.delta for x in rest if x.type == "response.output_text.delta") == text


def test_goes_on_behind_the_previous_one(client, mock, user):
    first = client.responses.create(model="travel-assistant", input=[
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Hello Ada."},
        {"role": "user", "content": [{"type": "input_text", "text": "Where to? [say: Rome]"}]},
    ])
    second = client.responses.create(input="And then? [say: Home]", previous_response_id=first.id)
    asked = [m["content"] for m in mock.chats()[-1]["messages"]]
    assert asked[1:] == ["My name is Ada.", "Hello Ada.", "Where to? [say: Rome]", "Rome", "And then? [say: Home]"]
    assert second.previous_response_id == first.id
    with pytest.raises(openai.ConflictError):
        client.responses.delete(first.id)  # the second stands on it
    client.responses.delete(second.id)
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_in_the_background_and_cancelled(client, mock):
    mock.held.clear(), mock.released.clear()
    r = client.responses.create(model="travel-assistant", input="[hold] [words: 30]", background=True)
    assert r.status == "in_progress"
    assert mock.held.wait(300)
    r = client.responses.cancel(r.id)
    mock.released.set()
    assert r.status == "cancelled" and r.output_text.strip() in ("", "word0")  # as much as had arrived


def test_sent_again_with_its_key_is_one_response(client):
    made = [client.responses.create(model="travel-assistant", input="once [say: once]", extra_headers={"Idempotency-Key": "r-1"}) for _ in range(2)]
    assert made[0].id == made[1].id and made[1].output_text == "once"


def test_another_users_response_does_not_exist(client, program):
    r = client.responses.create(model="travel-assistant", input="secret [say: kept]")
    other = program.sign_up("responses-other")
    for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/cancel")]:
        status, body = other_call(other, method, f"/v1/responses/{r.id}{path}")
        assert status == 404, (method, body)


def other_call(client, method, path):
    r = client.raw(method, path, {} if method == "POST" else None)
    status, body = r[0], r[2] if len(r) > 2 else r[1]
    return status, json.loads(body) if isinstance(body, (bytes, str)) and body else body


def test_stored_as_a_conversation(client, user):
    r = client.responses.create(model="travel-assistant", input="keep this [say: kept]")
    message = user.get("/api/v1/messages/" + r.id.removeprefix("resp_"))
    assert message["content"] == "kept"
    assert message["conversation_id"] in [c["conversation_id"] for c in user.get("/api/v1/conversations")["data"]]
