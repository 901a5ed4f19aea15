#!/usr/bin/env python3
"""make bench-chat-retrieval: chats that are grounded in documents, alone and while other documents come in.

The complete program with its embedded models (chat, embeddings). Documents are given through the API until all are searchable with their
vectors: chunks a second, and the share that the model process (embedding) has of the CPU time. Then users in a closed loop ask about
them; rounds without and with new documents coming in beside alternate, a feeder keeps some waiting all the time. TTFT: from the
request's last byte sent to the first content received, at the client. Beside the times stand counts that do not hang on what else the
machine does: tokens of prompts that were computed for an answer, batches of documents that the engine embedded in a second, and beside
them those that it called off for somebody who came.
"""

import argparse
import contextlib
import gzip
import http.client
import json
import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from lib.servers import Parley, api
from ttft import ParleyUser, quantile, run_round

WAITING = 12  # documents that the feeder keeps waiting
LOOK_S = 0.25  # between two looks at how many do: each takes milliseconds of a core that the program would have
PREFILLED, BATCHES, CALLED_OFF = COUNTED = ("parley_engine_prefill_tokens_total", "parley_engine_background_batches_total",
                                            "parley_engine_called_off_total")
PLACES = ["Vestra", "Orvik", "Halden", "Mirow", "Talsi", "Brenna", "Sorvag", "Lindau", "Karsk", "Olmen", "Fjara", "Dorn"]
THINGS = ["ferry", "museum", "library", "swimming pool", "market", "clinic", "workshop", "observatory", "archive", "bakery"]
FILLER = ("The building was put up by the town after the great flood and has been repaired twice since. Visitors are asked to keep to the "
          "paths and to leave their dogs outside. In winter the road is closed when there is much snow, and the bus goes by the old bridge. "
          "Those who come from far find a guest house beside the church, where breakfast is served from seven. ")


def made_up(n, first=0):
    """Documents of facts, each with a question that only it answers."""
    docs = []
    for i in range(first, first + n):
        rng = random.Random(i)
        place, thing, hour = f"{PLACES[i % 12]} {i // 12 + 1}", THINGS[(i * 7) % 10], f"{6 + i % 12}:{i % 6}5"
        text = (f"# The {thing} of {place}\n\n{FILLER}\n\n## Times\n\nThe {thing} of {place} opens at {hour} on weekdays. {FILLER}\n\n## Prices\n\n"
                f"A ticket for the {thing} of {place} costs {3 + i % 40} crowns. {FILLER}{' '.join(rng.sample(FILLER.split(), 30))}.\n")
        docs.append((f"{thing}-{i}.md", text, f"When does the {thing} of {place} open, and what does a ticket cost?"))
    return docs


def of_corpus(folder, n):
    def lines(name):
        path = os.path.join(folder, name)
        with gzip.open(path + ".gz", "rt", encoding="utf-8") if os.path.exists(path + ".gz") else open(path, encoding="utf-8") as f:
            return [json.loads(x) for x in f]

    corpus, queries = lines("corpus.jsonl"), lines("queries.jsonl")
    return [(f"{d['_id']}.txt", f"{d.get('title', '')}\n\n{d['text']}", queries[i % len(queries)]["text"]) for i, d in enumerate(corpus[:n])]


class Documents:
    """The index of one program, looked at from outside."""

    def __init__(self, parley, work, model):
        self.p, self.db, self.given = parley, os.path.join(work, "parley-" + model, "parley.db"), 0

    def rows(self, sql):
        with contextlib.closing(sqlite3.connect(f"file:{self.db}?mode=ro", uri=True, timeout=10)) as db:
            return db.execute(sql).fetchone()[0]

    def give(self, doc):
        api(self.p.port, "POST", "/api/v1/documents", {"source_name": doc[0], "content": doc[1], "shared": True}, self.p.cookie)
        self.given += 1

    def chunks(self):
        return self.rows("SELECT count(*) FROM chunks")

    def waiting(self):
        """By the vectors' key: without the model each look would read all vectors, which took more of a core than bringing them in does."""
        return self.rows("SELECT (SELECT count(*) FROM documents WHERE status = 'pending') + (SELECT count(DISTINCT c.doc_id) FROM chunks c"
                         " WHERE NOT EXISTS (SELECT 1 FROM chunk_vectors v WHERE v.hash = c.hash"
                         " AND v.model_id = (SELECT max(model_id) FROM embedding_models)))")

    def counted(self):
        """What the engine has counted so far."""
        c = http.client.HTTPConnection("127.0.0.1", self.p.port, timeout=30)
        c.request("GET", "/metrics")
        lines = [line.split() for line in c.getresponse().read().decode().splitlines() if line.startswith("parley_engine_")]
        c.close()
        return {k: int(float(v)) for k, v in lines if k in COUNTED}

    def drain(self, seconds=1800):
        end = time.monotonic() + seconds
        while self.waiting():
            if time.monotonic() > end:
                raise SystemExit("bench: the documents were not all indexed in time")
            time.sleep(0.1)

    def cpu_seconds(self):
        """Of the program's processes and their ended children, by name."""
        tick, sizes = os.sysconf("SC_CLK_TCK"), {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.getsid(int(pid)) != self.p.process.child.pid:
                    continue
                argv = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
                fields = open(f"/proc/{pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()
            except (OSError, ProcessLookupError):
                continue
            name = argv[1].decode() if int(pid) != self.p.process.child.pid and len(argv) > 1 else "supervisor"
            sizes[name] = sizes.get(name, 0) + sum(int(x) for x in fields[11:15]) / tick
        return sizes


class Feeder(threading.Thread):
    """Gives new documents so that some are always waiting, until it is stopped."""

    def __init__(self, documents, first):
        super().__init__(daemon=True)
        self.d, self.at, self.over, self.given, self.error = documents, first, threading.Event(), 0, None

    def run(self):
        try:
            while not self.over.is_set():
                if self.d.waiting() >= WAITING:
                    self.over.wait(LOOK_S)
                    continue
                for doc in made_up(4, self.at):
                    self.d.give(doc)
                self.at += 4
                self.given += 4
        except (OSError, sqlite3.Error, SystemExit) as e:
            self.error = str(e)

    def stop(self):
        self.over.set()
        self.join()
        if self.error:
            raise SystemExit("bench: " + self.error)


def ingest(documents, docs, tag, results):
    before, begin = documents.cpu_seconds(), time.perf_counter()
    for d in docs:
        documents.give(d)
    documents.drain()
    seconds = time.perf_counter() - begin
    after = documents.cpu_seconds()
    used = {k: after[k] - before.get(k, 0) for k in after}
    share = used.get("engine", 0) / max(0.01, sum(used.values()))
    chunks = documents.chunks()
    print(f"\n{tag}: {len(docs)} documents, {chunks} chunks in {seconds:.1f} s: {chunks / seconds:.1f} chunks/s; CPU "
          + ", ".join(f"{k} {v:.1f} s" for k, v in sorted(used.items())) + f": {share:.0%} is the embedding model's", flush=True)
    results += [(f"ingest_chunks_per_second/{tag}", chunks / seconds, "1/s", None, "higher"),
                (f"ingest_cpu_share_of_embedding/{tag}", share, "share", None, "lower"),
                (f"ingest_cpu_ms_per_chunk_beside_embedding/{tag}", 1000 * (sum(used.values()) - used.get("engine", 0)) / chunks, "ms", None, "lower")]


def ttfts(rounds):
    return [r[0] * 1000 for results, _, _ in rounds for r in results if r[0] is not None]


def grounded_share(documents):
    return documents.rows("SELECT avg(retrieved_docs <> '[]' AND retrieved_docs <> '') FROM messages WHERE sender = 'assistant'")


def chats(o, parley, documents, docs, users, tag, results):
    rng = random.Random(1)
    questions = [{"role": "general-assistant", "prompt": q} for _, _, q in rng.sample(docs, min(len(docs), o.prompts * 2 + users))]
    run_round(lambda: ParleyUser(parley), users, questions[-users:])
    share, rounds, at = max(1, o.prompts // o.rounds), {"alone": [], "beside": []}, 0
    counted = {s: dict.fromkeys(COUNTED, 0) for s in rounds}
    fed, feeding_s, first = 0, 0.0, o.fed
    for i in range(o.rounds):
        for state in ("alone", "beside") if i % 2 == 0 else ("beside", "alone"):
            part = [questions[(at + k) % len(questions)] for k in range(share)]
            at += share
            feeder = Feeder(documents, first) if state == "beside" else None
            before = documents.chunks()
            if feeder:
                feeder.start()
                while documents.waiting() < WAITING and not feeder.error:
                    time.sleep(0.02)
            before_round = documents.counted()
            rounds[state].append(run_round(lambda: ParleyUser(parley), users, part))
            for k, v in documents.counted().items():
                counted[state][k] += v - before_round[k]
            if feeder:
                feeding_s += rounds[state][-1][2]
                fed += documents.chunks() - before
                feeder.stop()
                first = feeder.at
                documents.drain()
    o.fed = first
    t = {s: ttfts(r) for s, r in rounds.items()}
    for s, r in rounds.items():
        errors = [e for _, es, _ in r for e in es]
        n, seconds = max(1, len(t[s])), max(0.01, sum(wall for _, _, wall in r))
        fresh, batches = counted[s][PREFILLED] / n, counted[s][BATCHES] / seconds
        print(f"{tag:>36}/{users} {s:<8}{len(t[s]):>4} {len(errors):>4} {quantile(t[s], 0.5):>7.0f}ms {quantile(t[s], 0.99):>7.0f}ms {fresh:>7.0f} "
              f"{batches:>5.1f} {counted[s][CALLED_OFF] / seconds:>5.1f}  rounds "
              + "–".join(f"{x:.0f}" for x in sorted(statistics.median(ttfts([one])) for one in r if one[0])), flush=True)
        for e in errors[:1]:
            print("      error:", e)
        results.append((f"errors/{tag}/{users}/{s}", len(errors), "count", 0, "lower"))
        results.append((f"ttft_p50/{tag}/{users}/{s}", quantile(t[s], 0.5), "ms", None, "lower"))
        results.append((f"ttft_p99/{tag}/{users}/{s}", quantile(t[s], 0.99), "ms", 1000.0 if s == "alone" else None, "lower"))
        results.append((f"fresh_tokens_per_answer/{tag}/{users}/{s}", fresh, "tokens", None, "lower"))
    results.append((f"ttft_p50_moved_by_ingestion/{tag}/{users}", quantile(t["beside"], 0.5) / quantile(t["alone"], 0.5), "ratio", 1.2, "lower"))
    results.append((f"ttft_p99_moved_by_ingestion/{tag}/{users}", quantile(t["beside"], 0.99) / quantile(t["alone"], 0.99), "ratio", 1.2, "lower"))
    results.append((f"chunks_per_second_beside_chats/{tag}/{users}", fed / max(0.01, feeding_s), "1/s", None, "higher"))


def measure(o, model, user_counts, work, results):
    docs = of_corpus(o.corpus, o.documents) if o.corpus else made_up(o.documents)
    parley = Parley(o.parley, work, model)
    try:
        parley.set_parameters(o.max_tokens)
        documents = Documents(parley, work, model)
        ingest(documents, docs, model, results)
        print(f"{'':>38} {'documents':<8} {'n':>4} {'err':>4} {'TTFT p50':>9} {'p99':>9} {'fresh':>7} {'bat/s':>5} {'off/s':>5}")
        for users in user_counts:
            chats(o, parley, documents, docs, users, model, results)
        share = grounded_share(documents)
        print(f"{'':>38} {share:.0%} of the answers had passages")
        results.append((f"answers_with_passages/{model}", share, "share", None, "higher"))
    finally:
        parley.stop()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--parley", required=True)
    p.add_argument("--model", action="append", required=True, metavar="NAME:USERS,USERS")
    p.add_argument("--documents", type=int, default=500)
    p.add_argument("--corpus", help="a folder in BEIR's layout: its documents and questions in place of made-up ones")
    p.add_argument("--prompts", type=int, default=50, help="questions for each number of users, without and again with documents coming in")
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--max-tokens", type=int, default=32)
    o = p.parse_args()
    o.fed = 100000
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    work, results = tempfile.mkdtemp(prefix="parley-bench-"), []
    try:
        for spec in o.model:
            name, users = spec.rsplit(":", 1)
            measure(o, name, [int(u) for u in users.split(",")], work, results)
    except BaseException:
        subprocess.run(["tail", "-n", "5"] + [os.path.join(work, f) for f in os.listdir(work) if f.endswith(".log")], check=False)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(json.dumps({"bench": "chat-retrieval", "results": [
        {"name": n, "value": round(v, 3), "unit": u, "aim": a, "better": b} for n, v, u, a, b in results]}))


if __name__ == "__main__":
    sys.exit(main())
