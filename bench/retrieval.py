#!/usr/bin/env python3
"""Search in the index beside sqlite-vec (vectors, int8) with FTS5 (words) in one SQLite database, in the same run.

Ours: bench/retrieval.c, words and vectors on two threads and fused. The peer: its own API from Python, one query after the
other, both parts (no fusing); questions of the same kinds: rare, ordinary and common words. Times without embedding.
"""
import argparse
import gzip
import json
import random
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


def peer(chunks, seconds):
    import sqlite_vec
    rng = random.Random(7)
    db = sqlite3.connect(":memory:")
    db.enable_load_extension(True)
    sqlite_vec.load(db)
    db.execute(f"create virtual table v using vec0(e int8[{DIMS}])")
    db.execute("create virtual table t using fts5(text, tokenize='porter unicode61')")
    begin = time.monotonic()
    for at in range(0, chunks, 1000):
        n = min(1000, chunks - at)
        db.executemany("insert into v(rowid, e) values (?, vec_int8(?))",
                       ((at + i + 1, rng.randbytes(DIMS)) for i in range(n)))
        db.executemany("insert into t(rowid, text) values (?, ?)", ((at + i + 1, words(rng, 90)) for i in range(n)))
    build = chunks / (time.monotonic() - begin)
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end or len(times) < 5:
        q = words(rng, 8, common=len(times) % 4 == 3)
        vector = rng.randbytes(DIMS)
        start = time.monotonic()
        db.execute("select rowid, distance from v where e match vec_int8(?) and k = 200", (vector,)).fetchall()
        db.execute("select rowid, bm25(t) from t where t match ? order by bm25(t) limit 200",
                   (" OR ".join(dict.fromkeys(q.split())),)).fetchall()
        times.append((time.monotonic() - start) * 1e3)
    times.sort()
    return {"p50_ms": times[len(times) // 2], "p99_ms": times[min(len(times) - 1, int(len(times) * 0.99))],
            "build_per_s": build, "searches": len(times)}


def unpacked(path):
    if not path or not path.endswith(".gz"):
        return path
    out = tempfile.NamedTemporaryFile(suffix=".jsonl", delete=False)
    out.write(gzip.open(path).read())
    out.close()
    return out.name


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--program", required=True)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--corpus", help="corpus.jsonl or .gz in BEIR's layout (Cranfield): passages are made of its sentences")
    p.add_argument("--no-peer", action="store_true")
    a = p.parse_args()
    sizes = [10000, 100000] if a.quick else [10000, 100000, 1000000]
    seconds = 5 if a.quick else 15
    corpus = unpacked(a.corpus)
    results = []

    def result(name, value, unit, aim, better):
        results.append({"name": name, "value": round(value, 4), "unit": unit, "aim": aim, "better": better})

    print(f"{'':34}{'p50 ms':>9}{'p99 ms':>9}{'common p99':>12}{'recall@10':>11}{'MB':>8}{'built/s':>9}")
    for n in sizes:
        runs = [("made-up words", None)] + ([("sentences of the corpus", corpus)] if corpus else [])
        for kind, path in runs:
            r = ours(a.program, n, seconds, path)
            print(f"{n:>9,} {kind:24}{r['p50_ms']:9.2f}{r['p99_ms']:9.2f}{r['common_p99_ms']:12.2f}"
                  f"{r['recall_at_10']:11.4f}{r['index_mb']:8.0f}{r['build_per_s']:9.0f}", flush=True)
            name = f"{n}{'' if path is None else '_corpus'}"
            result(f"search_p99_ms_{name}", max(r["p99_ms"], r["common_p99_ms"]), "ms", AIMS.get(n), "lower")
            result(f"search_p50_ms_{name}", r["p50_ms"], "ms", None, "lower")
            result(f"recall_at_10_{name}", r["recall_at_10"], "share", 0.98, "higher")
            result(f"index_mb_{name}", r["index_mb"], "MB", None, "lower")
            result(f"build_per_s_{name}", r["build_per_s"], "1/s", None, "higher")
        if not a.no_peer:
            mine = next(x["value"] for x in results if x["name"] == f"search_p99_ms_{n}")
            q = peer(n, seconds)
            print(f"{n:>9,} {'sqlite-vec 0.1.9 + FTS5':24}{q['p50_ms']:9.2f}{q['p99_ms']:9.2f}{'':12}{1:11.4f}{'':8}"
                  f"{q['build_per_s']:9.0f}", flush=True)
            result(f"peer_p99_ms_{n}", q["p99_ms"], "ms", None, "lower")
            result(f"peer_build_per_s_{n}", q["build_per_s"], "1/s", None, "higher")
            result(f"times_faster_than_peer_p99_{n}", q["p99_ms"] / mine, "x", 1, "higher")
    print(json.dumps({"bench": "retrieval", "results": results}))


if __name__ == "__main__":
    sys.exit(main())
