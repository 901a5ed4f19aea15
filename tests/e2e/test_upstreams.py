"""Model servers that are named: their key, and what administrators change of the pool."""

import pytest
from harness import Program
from mock_upstream import MockUpstream


def test_changes_of_a_model_server_outlive_a_restart():
    a, b = MockUpstream(), MockUpstream()
    with Program(upstream=f"{a.url},{b.url}") as program:
        admin = program.setup()
        first, second = [s["name"] for s in admin.get("/api/v1/upstreams")["data"]]
        changed = admin.call("PATCH", f"/api/v1/upstreams/{first}", {"enabled": False, "weight": 7, "max_concurrent": 3, "key": "secret-key-1"})
        assert (changed["enabled"], changed["weight"], changed["max_concurrent"], changed["keys"]) == (False, 7, 3, 1)
        program.stop()
        program.start()
        now = {s["name"]: s for s in admin.get("/api/v1/upstreams")["data"]}
        assert (now[first]["enabled"], now[first]["weight"], now[first]["max_concurrent"]) == (False, 7, 3)
        assert now[first]["keys"] == 0  # a key is not kept in the database
        assert (now[second]["enabled"], now[second]["weight"]) == (True, 1)
        before = len(a.chats())
        admin.say(admin.conversation(), "hello [say: from the second]")
        assert len(a.chats()) == before and b.chats()
        admin.call("PATCH", f"/api/v1/upstreams/{first}", {"enabled": True})
        assert admin.get("/api/v1/upstreams")["data"][0]["weight"] == 7
    a.close()
    b.close()


@pytest.mark.parametrize("place", ["file", "environment"])
def test_key_of_the_model_server_is_sent_to_it(place, tmp_path):
    (tmp_path / "key").write_text("of-the-file\n")
    given = {"args": ("--upstream-key-file", str(tmp_path / "key"))} if place == "file" else {"env": {"PARLEY_UPSTREAM_KEY": "of-the-environment"}}
    with MockUpstream() as mock, Program(upstream=mock.url, **given) as p:
        admin = p.setup()
        _, answer = admin.say(admin.conversation(), "hello [say: with a key]")
        assert answer["content"] == "with a key"
        assert {r["authorization"] for r in mock.requests} == {f"Bearer of-the-{place}"}
        assert f"of-the-{place}" not in p.log()
