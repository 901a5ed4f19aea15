#!/usr/bin/env python3
"""Search in the index beside sqlite-vec (vectors, int8) with FTS5 (words) in one SQLite database, in the same run.

Ours: bench/retrieval.c, words and vectors on two threads and fused. The peer: its own API from Python, one query after the
other, both parts (no fusing); passages and questions of the same kinds: rare, ordinary and common words, or sentences of the corpus.
Times without embedding. CPU: the longer of both parts and the fusing, in CPU time of their threads: what neighbours on the machine
do is not in it. The full run takes about 15 minutes on two cores and at most 4 GB.
"""
import argparse
import gzip
import json
import os
import random
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time

DIMS = 384
AIMS = {100000: 8, 1000000: 25}


def ours(program, chunks, seconds, corpus):
    command = [program, str(chunks), str(seconds)] + ([corpus] if corpus else [])
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def words(rng, n, common=False):
    # Zipf over 60,000 words, as bench/retrieval.c makes them
    if common:
        return " ".join(f"w{rng.randrange(20)}" for _ in range(n))
    return " ".join(f"w{min(59999, int(2.7 * ((60000 / 2.7) ** rng.random() - 1)))}" for _ in range(n))


COMMON = "flow the of boundary layer pressure number results"


class Texts:
    """Passages and questions as bench/retrieval.c makes them."""

    def __init__(self, rng, corpus):
        self.rng, self.sentences = rng, []
        for line in open(corpus, encoding="utf-8") if corpus else ():
            self.sentences += [x for x in (y.strip() for y in json.loads(line)["text"].split(".")) if len(x) >= 20]

    def passage(self):
        return ". ".join(self.rng.choices(self.sentences, k=5)) if self.sentences else words(self.rng, 90)

    def question(self, common):
        if not self.sentences:
            return words(self.rng, 8, common)
        return COMMON if common else self.rng.choice(self.sentences)[:90]


def peer(chunks, seconds, corpus):
    import sqlite_vec
    rng = random.Random(7)
    texts = Texts(rng, corpus)
    db = sqlite3.connect(":memory:")
    db.enable_load_extension(True)
    sqlite_vec.load(db)
    db.execute(f"create virtual table v using vec0(e int8[{DIMS}])")
    db.execute("create virtual table t using fts5(text, tokenize='porter unicode61')")
    build = 0.0
    for at in range(0, chunks, 1000):
        ids = range(at + 1, min(chunks, at + 1000) + 1)
        vectors, passages = [(i, rng.randbytes(DIMS)) for i in ids], [(i, texts.passage()) for i in ids]
        begin = time.monotonic()
        db.executemany("insert into v(rowid, e) values (?, vec_int8(?))", vectors)
        db.executemany("insert into t(rowid, text) values (?, ?)", passages)
        build += time.monotonic() - begin
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end or len(times) < 5:
        q = re.findall("[a-z0-9]+", texts.question(len(times) % 4 == 3).lower())
        vector = rng.randbytes(DIMS)
        start = time.monotonic()
        db.execute("select rowid, distance from v where e match vec_int8(?) and k = 200", (vector,)).fetchall()
        db.execute("select rowid, bm25(t) from t where t match ? order by bm25(t) limit 200",
                   (" OR ".join(f'"{x}"' for x in dict.fromkeys(q)),)).fetchall()
        times.append((time.monotonic() - start) * 1e3)
    times.sort()
    return {"p50_ms": times[len(times) // 2], "p99_ms": times[min(len(times) - 1, int(len(times) * 0.99))],
            "build_per_s": chunks / build, "searches": len(times), "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def peer_process(chunks, seconds, corpus):
    """In a process of its own, so that its memory is its own and goes with it."""
    command = [sys.executable, os.path.abspath(__file__), "--peer", str(chunks), str(seconds)] + ([corpus] if corpus else [])
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def unpacked(path):
    if not path or not path.endswith(".gz"):
        return path
    out = tempfile.NamedTemporaryFile(suffix=".jsonl", delete=False)
    out.write(gzip.open(path).read())
    out.close()
    return out.name


def main():
    if sys.argv[1:2] == ["--peer"]:
        print(json.dumps(peer(int(sys.argv[2]), float(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else None)))
        return
    p = argparse.ArgumentParser()
    p.add_argument("--program", required=True)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--corpus", help="corpus.jsonl or .gz in BEIR's layout (Cranfield): passages are made of its sentences")
    p.add_argument("--chunks", help="how many, 10000,100000; by default up to a million")
    p.add_argument("--no-peer", action="store_true")
    a = p.parse_args()
    sizes = [10000, 100000] if a.quick else [10000, 100000, 1000000]
    if a.chunks:
        sizes = [int(x) for x in a.chunks.split(",")]
    seconds = 4 if a.quick else 15
    corpus = unpacked(a.corpus)
    results = []

    def result(name, value, unit, aim, better):
        results.append({"name": name, "value": round(value, 4), "unit": unit, "aim": aim, "better": better})

    print(f"{'':34}{'p50 ms':>9}{'p99 ms':>9}{'common p99':>12}{'CPU p99':>9}{'recall@10':>11}{'MB':>8}{'built/s':>9}")
    for n in sizes:
        for kind, path in [("made-up words", None)] + ([("sentences of the corpus", corpus)] if corpus else []):
            r = ours(a.program, n, seconds, path)
            print(f"{n:>9,} {kind:24}{r['p50_ms']:9.2f}{r['p99_ms']:9.2f}{r['common_p99_ms']:12.2f}{r['cpu_p99_ms']:9.2f}"
                  f"{r['recall_at_10']:11.4f}{r['rss_mb']:8.0f}{r['build_per_s']:9.0f}", flush=True)
            name = f"{n}{'' if path is None else '_corpus'}"
            p99 = max(r["p99_ms"], r["common_p99_ms"])
            result(f"search_p99_ms_{name}", p99, "ms", AIMS.get(n), "lower")
            result(f"search_cpu_p99_ms_{name}", r["cpu_p99_ms"], "ms", None, "lower")
            result(f"search_p50_ms_{name}", r["p50_ms"], "ms", None, "lower")
            result(f"recall_at_10_{name}", r["recall_at_10"], "share", 0.98, "higher")
            result(f"rss_mb_{name}", r["rss_mb"], "MB", None, "lower")
            result(f"build_per_s_{name}", r["build_per_s"], "1/s", None, "higher")
            if a.no_peer:
                continue
            q = peer_process(n, seconds, path)
            print(f"{'':9} {'  sqlite-vec and FTS5':24}{q['p50_ms']:9.2f}{q['p99_ms']:9.2f}{'':21}{1:11.4f}{q['rss_mb']:8.0f}"
                  f"{q['build_per_s']:9.0f}", flush=True)
            result(f"peer_p99_ms_{name}", q["p99_ms"], "ms", None, "lower")
            result(f"peer_rss_mb_{name}", q["rss_mb"], "MB", None, "lower")
            result(f"peer_build_per_s_{name}", q["build_per_s"], "1/s", None, "higher")
            result(f"times_faster_than_peer_p99_{name}", q["p99_ms"] / p99, "x", 1, "higher")
            result(f"times_faster_than_peer_p50_{name}", q["p50_ms"] / r["p50_ms"], "x", 1, "higher")
    print(json.dumps({"bench": "retrieval", "results": results}))


if __name__ == "__main__":
    sys.exit(main())
