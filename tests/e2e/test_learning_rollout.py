"""What feedback changes, from ratings to everybody's search and back: documents → answers → many people's ratings → a candidate →
its proof → 10 % → 50 % → all → taken back by itself when ratings fall; and whose ratings count."""

import contextlib
import itertools
import json
import os
import sqlite3
import subprocess

import pytest
from harness import BINARY, ApiError, Program, wait_for
from mock_upstream import MODELS, MockUpstream, embed_words

TOPICS = ["kestrel", "marlin", "osprey", "puffin", "quokka", "raven", "salmon", "toucan", "urchin", "walrus"]
NEVER_RATED = ["zebra", "vulture"]  # they have documents, too
ROLE = "general-assistant"


def old(topic):
    return f"# {topic} pump reset\n\nHow to reset the {topic} pump: the obsolete manual says to pull the blue lever and reset the {topic} pump.\n"


def new(topic):
    return f"# {topic} bulletin\n\nSince the overhaul a reset of the {topic} pump needs ten seconds on the green knob, by the current bulletin.\n"


def question(topic):
    return f"How do I reset the {topic} pump?"


class World:
    """The program with documents of which one in two misleads, and people who know which."""

    def __init__(self, program, mock):
        self.mock = mock
        self.program, self.admin, self.docs, self.numbers = program, program.setup(), {}, itertools.count(1)
        for topic in TOPICS + NEVER_RATED:
            for kind, text in (("old", old(topic)), ("new", new(topic))):
                doc = self.admin.post("/api/v1/documents", {"source_name": f"{kind}-{topic}.md", "content": text, "shared": True})["doc_id"]
                self.docs[doc] = kind
        for doc in self.docs:
            wait_for(lambda: self.admin.get(f"/api/v1/documents/{doc}")["indexed_at"], "the index")
        wait_for(self.has_vectors, "vectors")
        self.people = [self.person() for _ in range(6)]

    def has_vectors(self):
        passages = self.record(*self.ask(self.admin, question("zebra")))["record"]["passages"]
        return passages and passages[0]["vector_rank"] > 0

    def person(self):
        return self.program.sign_up(f"person{next(self.numbers)}")

    def ask(self, user, text):
        return user, user.say(user.conversation(ROLE), text)[1]

    def record(self, user, message):
        return user.get(f"/api/v1/messages/{message['message_id']}/record")

    def first(self, message):
        return self.docs[message["retrieved_docs"][0]["doc_id"]]

    def rate(self, user, message, rating):
        """With what the person thinks of each passage: they know which documents mislead."""
        sources = [{"key": p["key"], "helpful": self.docs[p["doc_id"]] == "new"} for p in message["retrieved_docs"]]
        user.call("PUT", f"/api/v1/messages/{message['message_id']}/feedback", {"rating": rating, "sources": sources})

    def rate_all(self, topics, people, rating="thumbs_up"):
        for user in people:
            for topic in topics:
                _, message = self.ask(user, question(topic))
                self.rate(user, message, rating)

    def active(self):
        return self.admin.get("/api/v1/learning")

    def candidates(self):
        return self.admin.get("/api/v1/learning/candidates")["data"]

    def words(self):
        return [e["words"] for e in self.admin.get("/api/v1/learning/events")["data"]]

    def learn(self):
        """In the terminal, beside the running server; the server has it within seconds."""
        out = subprocess.run([BINARY, "learn", "--data-dir", self.program.data, "--json"], capture_output=True, text=True, check=True)
        return json.loads(out.stdout)

    def compare(self, with_it, without):
        """Conversations until so many of each side were rated, as their first passage deserves."""
        seen = {True: 0, False: 0}
        for i in range(600):
            user = self.people[i % len(self.people)]
            _, message = self.ask(user, question(TOPICS[i % len(TOPICS)]))
            ranked = self.record(user, message)["ranked"]
            assert self.first(message) == ("new" if ranked else "old")
            if seen[ranked] < (with_it if ranked else without):
                self.rate(user, message, "thumbs_up" if ranked or i % 3 else "thumbs_down")
                seen[ranked] += 1
            if seen == {True: with_it, False: without}:
                return
        raise AssertionError(f"after 600 conversations: {seen}")


@pytest.fixture(scope="module")
def world():
    mock = MockUpstream()
    mock.embed = embed_words
    chat, embedding = MODELS  # a machine with room for several passages: of one there is no order to learn
    mock.models = [{**chat, "parley": {**chat["parley"], "prefill_per_second": 3000}}, embedding]
    try:
        with Program(upstream=mock.url) as p:
            yield World(p, mock)
    finally:
        mock.close()


def test_ratings_become_a_candidate_only_with_proof(world):
    _, message = world.ask(world.people[0], question("zebra"))
    assert world.first(message) == "old"  # the search by itself is misled
    few = world.learn()
    assert not few["candidate"] and "rated answers" in few["words"]
    world.rate_all(TOPICS, world.people[:5])
    done = world.learn()
    assert done["candidate"] and done["proved"], done
    (made,) = world.candidates()
    assert made["state"] == "trial" and made["proof"]["low"] > 0 and made["proof"]["gain"] > 0
    assert "10 % of conversations" in world.words()[0]
    proposed = world.admin.get("/api/v1/learning/answers?state=proposed&limit=200")["data"]
    assert sorted(a["question"] for a in proposed) == sorted(map(question, TOPICS))  # once each, though five people liked each


def test_trial_half_all_and_a_search_that_changed(world):
    wait_for(lambda: world.active()["share"] == 0.1, "the trial")
    stays = world.admin.post("/api/v1/learning/run")
    assert not stays["candidate"] and "on trial with 10 %" in stays["words"]  # a newer one would begin the comparison anew
    world.compare(15, 15)
    assert "now answers 50 %" in world.admin.post("/api/v1/learning/run")["words"]
    assert world.active()["share"] == 0.5
    world.compare(15, 15)
    assert "now answers 100 %" in world.admin.post("/api/v1/learning/run")["words"]
    assert world.active()["share"] == 1
    for topic in TOPICS + NEVER_RATED:  # what was learnt holds for what nobody rated
        _, message = world.ask(world.people[0], question(topic))
        assert world.first(message) == "new", topic
    assert any("100 %" in w and "without" in w for w in world.words())
    out = subprocess.run([BINARY, "learn", "changes", "--data-dir", world.program.data], capture_output=True, text=True, check=True)
    assert "10 % of conversations" in out.stdout and "100 %" in out.stdout


def test_an_administrator_takes_it_back_and_puts_it_back(world):
    candidate = world.active()["candidate_id"]
    path = f"/api/v1/learning/candidates/{candidate}"
    assert world.admin.call("PATCH", path, {"in_use": False})["state"] == "rolled_back"
    assert world.active()["share"] == 0
    _, message = world.ask(world.people[0], question("zebra"))
    assert world.first(message) == "old"
    with pytest.raises(ApiError) as e:
        world.admin.call("PATCH", path, {"in_use": False})
    assert e.value.status == 409
    assert world.admin.call("PATCH", path, {"in_use": True})["state"] == "all"
    _, message = world.ask(world.people[0], question("zebra"))
    assert world.first(message) == "new"


def test_a_withdrawn_rating_is_unlearnt(world):
    candidate = world.active()["candidate_id"]
    for c in world.candidates():
        assert c["candidate_id"] == candidate or c["state"] in ("refused", "replaced", "rolled_back")
    assert not any("made anew" in w for w in world.words())  # giving a rating takes nothing back
    user = world.people[5]
    _, message = world.ask(user, question("walrus"))
    world.rate(user, message, "thumbs_up")
    user.call("DELETE", f"/api/v1/messages/{message['message_id']}/feedback")
    words = world.learn()["words"]
    assert "made anew without them" in words and any("made anew without them" in w for w in world.words())


def test_what_another_version_learnt_is_made_anew(world):
    with contextlib.closing(sqlite3.connect(os.path.join(world.program.data, "parley.db"), timeout=60)) as db, db:
        assert db.execute("UPDATE candidates SET body = x'00' WHERE kind = 'ranker' AND state = 'all'").rowcount == 1
    assert "made anew from the ratings" in world.learn()["words"]
    wait_for(lambda: world.first(world.ask(world.people[0], question("zebra"))[1]) == "new", "the order made anew")


def test_it_is_taken_back_by_itself_when_ratings_fall(world):
    candidate = next(c for c in world.candidates() if c["state"] == "all")

    def state():
        return next(c for c in world.candidates() if c["candidate_id"] == candidate["candidate_id"])["state"]

    wait_for(lambda: world.record(*world.ask(world.admin, question("zebra")))["candidate_id"] == candidate["candidate_id"],
             "what the terminal learnt")
    for i in range(40):  # nobody calls the learner: the server looks after every twenty answers
        user = world.people[i % len(world.people)]
        _, message = world.ask(user, question(TOPICS[i % len(TOPICS)]))
        user.call("PUT", f"/api/v1/messages/{message['message_id']}/feedback", {"rating": "thumbs_down"})
    wait_for(lambda: world.ask(world.admin, "Hello there!") and state() == "rolled_back", "the way back")
    assert "taken back: worse rated" in world.words()[0]
    _, message = world.ask(world.people[0], question("zebra"))
    assert world.first(message) == "old"


def test_approved_answers_to_like_questions_are_examples(world):
    user, admin = world.people[1], world.admin
    role = next(r["role_id"] for r in admin.get("/api/v1/roles")["data"] if r["slug"] == ROLE)
    made = admin.post("/api/v1/learning/answers", {"role_id": role, "question": "When does the ferry office in Bonn open?",
                                                   "answer": "At nine, by the blue door."})

    def system_prompt_of(text):
        return [c["messages"][0]["content"] for c in world.mock.chats() if str(c["messages"][-1]["content"]).endswith(text)][-1]

    def trial():
        admin.post("/api/v1/learning/run")
        return next((c for c in world.candidates() if c["kind"] == "examples"), None)

    candidate = trial()  # they begin as a trial like everything else, which is written down
    assert candidate["state"] == "trial" and "examples in 10 %" in candidate["words"]
    assert any("examples in 10 %" in w for w in world.words())
    path = f"/api/v1/learning/candidates/{candidate['candidate_id']}"
    assert admin.call("PATCH", path, {"in_use": False})["state"] == "rolled_back"
    assert trial()["candidate_id"] == candidate["candidate_id"]  # and do not come back by themselves
    world.ask(user, "When does the ferry office in Ulm open?")
    assert "blue door" not in system_prompt_of("in Ulm open?")
    assert admin.call("PATCH", path, {"in_use": True})["state"] == "all"

    def shown():
        conversation = user.conversation(ROLE)
        _, message = user.say(conversation, "When does the ferry office in Ulm open?")
        assert message["finish_reason"] == "stop"  # another city: the model answers
        return "by the blue door" in system_prompt_of("in Ulm open?") and (conversation, message)

    conversation, message = wait_for(shown, "the example")
    record = world.record(user, message)
    assert record["record"]["examples"] == [made["answer_id"]]
    assert (record["examples_id"], record["exampled"], record["examples_chance"]) == (candidate["candidate_id"], True, 1)
    user.say(conversation, "And on Sundays?")
    assert system_prompt_of("And on Sundays?") == system_prompt_of("in Ulm open?")  # the prompt only grows at its end
    world.ask(user, "Name a colour of cheese.")
    assert "blue door" not in system_prompt_of("colour of cheese.")
    assert not admin.call("PATCH", "/api/v1/learning", {"examples": False})["examples"]
    world.ask(user, "When does the ferry office in Ulm open?")
    assert "blue door" not in system_prompt_of("in Ulm open?")
    admin.call("PATCH", "/api/v1/learning", {"examples": True})
    admin.call("PATCH", f"/api/v1/learning/answers/{made['answer_id']}", {"state": "retired"})
    world.ask(user, "When does the ferry office in Ulm open?")
    assert "blue door" not in system_prompt_of("in Ulm open?")


def test_a_deleted_person_and_private_documents_have_no_influence(world):
    before = world.learn()
    person = world.person()
    world.rate_all(TOPICS[:5], [person])
    assert world.learn()["ratings"] == before["ratings"] + 5
    world.admin.call("DELETE", f"/api/v1/users/{person.user['user_id']}")
    after = world.learn()
    assert after["ratings"] == before["ratings"] and "made anew without them" in world.words()[0] + after["words"]
    owner = world.person()
    secret = owner.post("/api/v1/documents", {"source_name": "diary.md", "content": "My xylophone lesson is on Tuesday at noon."})["doc_id"]
    wait_for(lambda: owner.get(f"/api/v1/documents/{secret}")["indexed_at"], "the index")
    _, message = world.ask(owner, "xylophone lesson")
    used = [p for p in message["retrieved_docs"] if p["doc_id"] == secret]
    assert used
    owner.call("PUT", f"/api/v1/messages/{message['message_id']}/feedback",
               {"rating": "thumbs_up", "sources": [{"key": used[0]["key"], "helpful": True}]})
    world.learn()
    answers = world.admin.get("/api/v1/learning/answers?limit=200")["data"]
    assert not any("xylophone" in a["question"] for a in answers)  # nor is it proposed to be served to others
    with pytest.raises(ApiError) as e:
        world.admin.post("/api/v1/learning/answers", {"role_id": message["assistant_role_id"], "question": "q", "answer": "a", "doc_ids": [secret]})
    assert e.value.status == 400
