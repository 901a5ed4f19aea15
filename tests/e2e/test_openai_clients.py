"""The official clients, as they come: PyPI `openai` here, npm `openai` in openai_client.mjs."""

import base64
import json
import os
import struct
import subprocess

import openai
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))


@pytest.fixture
def client(program, user):
    return openai.OpenAI(base_url=program.url + "/v1", api_key=user.post("/api/v1/keys", {"name": "sdk"})["key"], max_retries=0)


def test_chat_not_streaming(client):
    r = client.chat.completions.create(model="mock-chat", messages=[{"role": "user", "content": "[say: good morning]"}])
    assert r.object == "chat.completion" and r.choices[0].message.content == "good morning"
    assert r.choices[0].finish_reason == "stop" and r.usage.completion_tokens > 0
    assert r._request_id


def test_chat_streaming_with_usage(client):
    chunks = list(client.chat.completions.create(model="mock-chat", stream=True, stream_options={"include_usage": True},
                                                 messages=[{"role": "user", "content": "[words: 20]"}]))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == " ".join(f"word{i}" for i in range(20))
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens > 0
    assert all(c.usage is None for c in chunks[:-1]) and all(c.object == "chat.completion.chunk" for c in chunks)


def test_streaming_without_usage_sends_no_usage_chunk(client):
    chunks = list(client.chat.completions.create(model="mock-chat", stream=True, messages=[{"role": "user", "content": "[words: 3]"}]))
    assert all(c.choices for c in chunks)


def test_a_role_is_a_model(client, mock, user):
    r = client.chat.completions.create(model="travel-assistant", messages=[{"role": "user", "content": "[say: bon voyage]"}])
    assert r.choices[0].message.content == "bon voyage" and r.model == "travel-assistant"
    role = next(x for x in user.get("/api/v1/roles")["data"] if x["slug"] == "travel-assistant")
    assert mock.chats()[-1]["messages"][0] == {"role": "system", "content": role["system_prompt"]}


def test_models_are_listed_with_roles(client):
    ids = [m.id for m in client.models.list()]
    assert {"mock-chat", "mock-embedding", "travel-assistant", "code-helper"} <= set(ids)
    assert client.models.retrieve("mock-chat").id == "mock-chat"
    assert client.models.retrieve("medical-advisor").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_embeddings_reach_the_upstream(client):
    r = client.embeddings.create(model="mock-embedding", input=["a", "bc"], encoding_format="float")
    assert [d.embedding for d in r.data] == [[1.0, 1.0, 0.0], [2.0, 1.0, 0.0]]


def test_errors_raise_the_sdks_own_classes(client, program):
    with pytest.raises(openai.NotFoundError) as e:
        client.chat.completions.create(model="nobody", messages=[{"role": "user", "content": "hi"}])
    assert e.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="mock-chat", messages=[])
    with pytest.raises(openai.RateLimitError) as e:
        client.chat.completions.create(model="mock-chat", messages=[{"role": "user", "content": "[status: 429]"}])
    assert int(e.value.response.headers["retry-after"]) == 7
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=program.url + "/v1", api_key="parley_wrong", max_retries=0).models.list()


def test_npm_client(program, user):
    key = user.post("/api/v1/keys", {"name": "npm"})["key"]
    done = subprocess.run(["node", os.path.join(HERE, "openai_client.mjs")], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PARLEY_URL": program.url, "PARLEY_KEY": key}, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_real_engine_answers_both_ways_and_embeds(real):
    key = real.admin.post("/api/v1/keys", {"name": "sdk"})["key"]
    c = openai.OpenAI(base_url=real.url + "/v1", api_key=key, max_retries=0, timeout=300)
    ask = {"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "Say hello."}], "temperature": 0, "max_tokens": 24}
    whole = c.chat.completions.create(**ask).choices[0].message.content
    streamed = "".join(x.choices[0].delta.content or "" for x in c.chat.completions.create(stream=True, **ask) if x.choices)
    # Sums of half floats depend on where cells lie, so that, rarely, a later token differs (docs/scheduler.md).
    assert whole.strip() and whole[:6] == streamed[:6]
    cut = c.chat.completions.create(**{**ask, "max_tokens": 3}, logit_bias={"0": -100, "2": -100})  # it cannot end by itself
    assert cut.choices[0].finish_reason == "length" and cut.usage.completion_tokens == 3
    near, far = (c.embeddings.create(model="all-minilm-l6-v2", input=[a, b]).data for a, b in
                 [("a cat sleeps on the sofa", "a kitten naps on the couch"), ("a cat sleeps on the sofa", "interest rates rose again")])
    assert len(near[0].embedding) == 384
    dot = lambda d: sum(x * y for x, y in zip(d[0].embedding, d[1].embedding))  # noqa: E731
    assert dot(near) > dot(far) + 0.2
    raw = json.loads(real.admin.raw("POST", "/v1/embeddings", {"model": "all-minilm-l6-v2", "input": "a cat", "encoding_format": "base64"})[2])
    assert len(struct.unpack("<384f", base64.b64decode(raw["data"][0]["embedding"]))) == 384


@pytest.fixture
def real_client(real):
    return openai.OpenAI(base_url=real.url + "/v1", max_retries=0,
                         api_key=real.admin.post("/api/v1/keys", {"name": "sdk"})["key"])


CITY = {"type": "object", "additionalProperties": False, "required": ["city", "visitors", "season"],
        "properties": {"city": {"type": "string", "minLength": 1, "maxLength": 12},
                       "visitors": {"type": "integer", "minimum": 1, "maximum": 5000},
                       "season": {"enum": ["spring", "summer", "autumn", "winter"]}}}


def test_answers_follow_a_json_schema(real_client):
    ask = {"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "Name a city to visit."}],
           "max_tokens": 200, "response_format": {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": CITY}}}
    for extra in ({"temperature": 0}, {"temperature": 1, "seed": 5}):
        r = real_client.chat.completions.create(**ask, **extra)
        answer = json.loads(r.choices[0].message.content)
        assert r.choices[0].finish_reason == "stop" and set(answer) == {"city", "visitors", "season"}
        assert 1 <= len(answer["city"]) <= 12 and 1 <= answer["visitors"] <= 5000 and answer["season"] in CITY["properties"]["season"]["enum"]
    text = "".join(c.choices[0].delta.content or "" for c in real_client.chat.completions.create(**ask, stream=True, temperature=0) if c.choices)
    assert set(json.loads(text)) == set(answer)


def test_json_mode_answers_with_an_object(real_client):
    r = real_client.chat.completions.create(model="smollm2-135m-instruct", temperature=0, max_tokens=60,
                                            messages=[{"role": "user", "content": "Say hello as JSON with one key."}],
                                            response_format={"type": "json_object"})
    assert r.choices[0].message.content.startswith("{")
    if r.choices[0].finish_reason == "stop":
        json.loads(r.choices[0].message.content)


def test_a_schema_that_cannot_be_met_is_refused_with_its_place(real_client):
    schema = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 3, "maximum": 2}}, "required": ["age"]}
    with pytest.raises(openai.BadRequestError) as e:
        real_client.chat.completions.create(model="smollm2-135m-instruct", messages=[{"role": "user", "content": "hi"}],
                                            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    assert e.value.param == "response_format" and "schema.properties.age" in e.value.message and "nothing can meet it" in e.value.message
