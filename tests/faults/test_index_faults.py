"""The index under faults: a server killed while the vectors of another embedding model are made, and a full disk while documents come in."""

import collections
import contextlib
import itertools
import json
import os
import socket
import sqlite3
import subprocess
import threading

import harness
import samples
from disk import SmallDisk
from harness import Program, wait_for
from mock_upstream import MODELS, MockUpstream, embed_words

DOCUMENTS = 70
OTHER = {**MODELS[1], "id": "other-embedding"}


def rows(p, sql):
    with contextlib.closing(sqlite3.connect(f"file:{os.path.join(p.data, 'parley.db')}?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


def vectors(p):
    """How many vectors there are, by the model's name."""
    return dict(rows(p, "SELECT m.name, count(v.hash) FROM embedding_models m LEFT JOIN chunk_vectors v USING (model_id) GROUP BY 1"))


def kill_server(p):
    old = p.kill("server")
    wait_for(lambda: p.processes().get("server", old) != old and p.status("/readyz") == 200, "the server's return")


def embedded(mock, model):
    """How often each text was embedded with a model, the probes of questions left out."""
    with mock.lock:
        asked = [r["body"] for r in mock.requests if r["path"] == "/v1/embeddings" and r["body"].get("model") == model]
    return collections.Counter(t for b in asked for t in (b["input"] if isinstance(b["input"], list) else [b["input"]]) if "island" in t)


def test_server_killed_while_another_models_vectors_are_made():
    with MockUpstream() as mock, Program(upstream=mock.url) as p:
        mock.embed = embed_words
        admin = p.setup()
        for i in range(DOCUMENTS):
            admin.post("/api/v1/documents", {"source_name": f"i{i}.txt", "content": f"The island number {i} has a lighthouse called beacon{i}."})
        wait_for(lambda: vectors(p).get(MODELS[1]["id"]) == DOCUMENTS, "all vectors")
        find = lambda parts: admin.post("/api/v1/search", {"query": "lighthouse beacon42", "parts": parts, "k": 1})  # noqa: E731
        assert find("both")["trace"]["vector_done"]

        stopped, going = threading.Event(), threading.Event()
        count = itertools.count(1)

        def embed(text):
            if "island" in text and next(count) == 40:
                stopped.set()
                going.wait(600)
            return embed_words(text, 64)

        mock.embed, mock.models = embed, [MODELS[0], OTHER]
        kill_server(p)  # the next one sees the other model
        assert stopped.wait(300), "the other model's vectors are not made"
        assert find("lexical")["data"][0]["source_name"] == "i42.txt"  # the old index serves
        # Batches follow each other: all but the one that is held are kept, or will be in a moment.
        asked = [r["body"]["input"] for r in mock.requests if r["path"] == "/v1/embeddings" and r["body"].get("model") == OTHER["id"]]
        answered = sum("island" in text for batch in asked[:-1] for text in batch)
        assert 0 < answered < DOCUMENTS
        wait_for(lambda: vectors(p) == {MODELS[1]["id"]: DOCUMENTS, OTHER["id"]: answered}, "what was answered")
        kill_server(p)
        going.set()
        wait_for(lambda: vectors(p) == {OTHER["id"]: DOCUMENTS}, "the other model's vectors")
        made = embedded(mock, OTHER["id"])
        assert len(made) == DOCUMENTS
        assert sum(made.values()) <= DOCUMENTS + 16, "what was made before the kill is made again"
        r = wait_for(lambda: (r := find("both"))["trace"]["vector_done"] and r, "the other model's index")
        assert r["data"][0]["source_name"] == "i42.txt" and r["data"][0]["vector"] > 0
        assert rows(p, "SELECT count(*), count(DISTINCT doc_id) FROM chunks") == [(DOCUMENTS, DOCUMENTS)]


def test_a_gigabyte_is_refused_and_5000_pages_come_in(tmp_path):
    with MockUpstream() as mock, Program(upstream=mock.url) as p:
        admin = p.setup()
        with socket.create_connection(("127.0.0.1", p.port), timeout=300) as s:  # refused by its length: none of it is read
            s.sendall(f"POST /api/v1/documents?source_name=big.txt HTTP/1.1\r\nHost: parley\r\nCookie: {admin.cookie}\r\n"
                      f"Content-Type: application/octet-stream\r\nContent-Length: {1 << 30}\r\n\r\n".encode())
            assert s.recv(4096).startswith(b"HTTP/1.1 413 ")
        big = tmp_path / "big.txt"
        with open(big, "wb") as f:
            f.truncate(1 << 30)
        r = subprocess.run([harness.BINARY, "ingest", "--no-wait", "--data-dir", p.data, str(big)], capture_output=True, text=True, check=False)
        assert "1 refused" in r.stdout and "it has 1024 MB; at most 32 MB" in r.stderr
        line = "This is one of the lines that every page of this long book has"
        book = samples.pdf([[(11, f"{line} {i}.")] * 3 for i in range(5000)])
        status, _, body = admin.raw("POST", "/api/v1/documents?source_name=book.pdf", book, {"Content-Type": "application/octet-stream"})
        assert status == 201
        doc = wait_for(lambda: (d := admin.get(f"/api/v1/documents/{json.loads(body)['doc_id']}"))["status"] != "pending" and d, "the book")
        assert doc["status"] == "indexed" and doc["chunk_count"] > 1000
        find = {"query": "lines of the book 4321", "parts": "lexical", "k": 1}
        hit = wait_for(lambda: admin.post("/api/v1/search", find)["data"], "the index")[0]  # it follows a moment after the store
        assert "4321" in hit["text"] and hit["page"] == 4322


def test_documents_that_a_full_disk_held_up_come_in_when_there_is_room(tmp_path):
    with SmallDisk(tmp_path) as disk, MockUpstream() as mock, Program(upstream=mock.url, data=disk.path) as p:
        admin = p.setup()
        first = admin.post("/api/v1/documents", {"source_name": "first.txt", "content": "The island has a lighthouse."})["doc_id"]
        wait_for(lambda: vectors(p), "the first document's vectors")
        mock.embeddings_held = True  # the second one's vectors come when the disk is full
        second = admin.post("/api/v1/documents", {"source_name": "second.txt", "content": "The harbour has a crane."})["doc_id"]
        disk.fill()
        mock.embeddings_held = False
        mock.released.set()
        codes = {admin.raw("POST", "/api/v1/documents", {"source_name": f"d{i}", "content": f"island {i} " * 9000})[0] for i in range(30)}
        assert 507 in codes and codes <= {201, 507}, codes
        found = lambda q: [h["doc_id"] for h in admin.post("/api/v1/search", {"query": q, "parts": "lexical"})["data"]]  # noqa: E731
        assert first in found("lighthouse")  # what there was is found all the time
        disk.empty()
        docs = wait_for(lambda: (d := admin.get("/api/v1/documents?limit=200")["data"]) and all(x["status"] == "indexed" for x in d) and d, "the index")
        assert {first, second} <= {d["doc_id"] for d in docs} and found("crane") == [second]
        missing = "SELECT count(*) FROM chunks c WHERE NOT EXISTS (SELECT 1 FROM chunk_vectors v WHERE v.hash = c.hash)"
        wait_for(lambda: rows(p, missing) == [(0,)], "all vectors")
