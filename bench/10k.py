#!/usr/bin/env python3
"""Ten thousand users on one server: bench/10k.py [--users 10000] [--seconds 600] [--quick] [--lengths FILE].

A closed loop of signed-in users (ask, read the streamed answer, think 30 s) against the mock model server directly and through
Parley, alternating; then every answer that a user saw whole is compared with the store. Afterwards as many answers as users stream at
the same time, spread over two servers, and twice as many readers wait attached to an answer that says nothing. At last the program is
upgraded, several times, while a thousand users ask and read. Mock, users and servers share this machine's cores. Times count once most
users have begun, because each opens a connection and a conversation first (--settle-seconds; all times stand beside). --phases closed,streams,idle,upgrade picks some."""

import argparse
import http.client
import json
import os
import sqlite3
import statistics
import subprocess
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

from lib.load import Mock, SeededParley, Users, print_results, program, work_folder

BAD = ("refused", "broken", "wrong", "failed_status", "unfinished")


def options():
    p = argparse.ArgumentParser()
    p.add_argument("--users", type=int, default=10000)
    p.add_argument("--seconds", type=int, default=600, help="of the closed loop through Parley")
    p.add_argument("--direct-seconds", type=int, default=120, help="of each run against the mock alone")
    p.add_argument("--think-ms", type=int, default=30000)
    p.add_argument("--settle-seconds", type=int, help="until times count, at most half of the run; default: two think times")
    p.add_argument("--rate", type=float, default=30, help="tokens a second of one answer")
    p.add_argument("--tokens", type=int, default=150)
    p.add_argument("--lengths", help="a file with one answer length a line instead of --tokens")
    p.add_argument("--stream-rate", type=float, default=2, help="the same where all stream at once")
    p.add_argument("--guard", default="on", choices=("on", "off"), help="of the servers")
    p.add_argument("--idle-seconds", type=int, default=20, help="of waiting, twice")
    p.add_argument("--begin-ms", type=int, default=15000, help="within which all begin where all stream at once")
    p.add_argument("--upgrades", type=int, default=3)
    p.add_argument("--upgrade-seconds", type=int, default=10, help="before each upgrade, and at the end")
    p.add_argument("--phases", default="closed,streams,idle,upgrade")
    p.add_argument("--quick", action="store_true", help="1,000 users, two minutes in all")
    o = p.parse_args()
    if o.quick:
        o.users, o.seconds, o.direct_seconds, o.think_ms, o.idle_seconds = 1000, 20, 8, 5000, 2
        o.stream_rate, o.begin_ms, o.upgrades, o.upgrade_seconds = 4, 5000, 1, 5
    if o.settle_seconds is None:
        o.settle_seconds = o.think_ms // 500
    return o


def errors(r):
    return sum(r[k] for k in BAD)


def compare_with_store(database, log):
    """How many acknowledged answers are missing or differ, and how many messages there are."""
    db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    seen, lost = dict(line.split() for line in open(log)), 0
    for message_id, crc in seen.items():
        row = db.execute("SELECT a.content, q.content FROM messages a JOIN messages q ON q.message_id = a.parent_id"
                         " WHERE a.message_id = ? AND a.status = 'complete' AND q.sender = 'user'", (message_id,)).fetchone()
        lost += row is None or f"{zlib.crc32(row[0].encode()):08x}" != crc
    total = db.execute("SELECT count(*) FROM messages").fetchone()[0]
    doubled = db.execute("SELECT count(*) - count(DISTINCT content) FROM messages WHERE sender = 'user'").fetchone()[0]
    db.close()
    return len(seen), lost, total, doubled


def describe(name, r):
    print(f"{name:22} answers {r['answers']:>7} ({r['answers_per_s']:.0f}/s)  errors {errors(r)}  most at once {r['most_open']}  "
          f"TTFT p50 {r['ttft_ms']['p50']:.1f} p99 {r['ttft_ms']['p99']:.1f} p99.9 {r['ttft_ms']['p999']:.1f} ms  "
          f"gap p50 {r['gap_ms']['p50']:.1f} p99 {r['gap_ms']['p99']:.1f} p99.9 {r['gap_ms']['p999']:.1f} ms  "
          f"(from the first second on: TTFT p99 {r['ttft_all_ms']['p99']:.1f}, gap p99 {r['gap_all_ms']['p99']:.1f} ms)", flush=True)
    if errors(r):
        print(" " * 22, "errors:", ", ".join(f"{k} {r[k]}" for k in BAD if r[k]), flush=True)


def closed_loop(o, work):
    mock = Mock(work, o.seconds + 3 * o.direct_seconds + 600, rate=o.rate, tokens=o.tokens, lengths=o.lengths)
    common = ["--think-ms", o.think_ms, *mock.answers]
    direct = []

    def settle(seconds):
        return ["--settle-seconds", min(o.settle_seconds, seconds // 2)]

    def run_direct():
        direct.append(Users(mock.port, o.users, o.direct_seconds, "--api", "openai", *settle(o.direct_seconds), *common).result())
        describe("mock directly", direct[-1])

    run_direct()
    parley = SeededParley(work, "node", o.users, mock.url, "--guard", o.guard)
    log = os.path.join(work, "answers.log")
    users = Users(parley.port, o.users, o.seconds, "--api", "native", "--credentials", parley.sessions, "--log", log, *settle(o.seconds), *common)
    through, memory, cpu = users.watch(parley)
    describe("through Parley", through)
    parley.stop()
    run_direct()
    mock.stop()
    answers, lost, stored, doubled = compare_with_store(parley.database, log)
    print(f"store: {stored} messages; {answers} answers that users saw whole compared one by one: {lost} missing or different, {doubled} questions doubled")

    def added(kind, quantile):
        return through[kind][quantile] - statistics.median(d[kind][quantile] for d in direct)

    return [("closed loop: errors", errors(through), "requests", 0, "lower"),
            ("closed loop: errors against the mock alone", sum(map(errors, direct)), "requests", None, "lower"),
            *[(f"added TTFT {q}", added("ttft_ms", k), "ms", aim, "lower")
              for q, k, aim in (("p50", "p50", None), ("p99", "p99", 50), ("p99.9", "p999", None))],
            *[(f"added inter-token gap {q}", added("gap_ms", k), "ms", aim, "lower")
              for q, k, aim in (("p50", "p50", None), ("p99", "p99", 50), ("p99.9", "p999", None))],
            *[(f"added {name} p99, from the first second on", added(kind, "p99"), "ms", None, "lower")
              for name, kind in (("TTFT", "ttft_all_ms"), ("inter-token gap", "gap_all_ms"))],
            ("server memory", memory, "MB", 400, "lower"),
            ("server CPU", 100 * cpu, "% of a core", None, "lower"),
            ("durable messages", 2 * through["answers_per_s"], "1/s", None, "higher"),
            ("acknowledged answers missing or different", lost, "answers", 0, "lower"),
            ("questions stored twice", doubled, "questions", 0, "lower")]


def all_at_once(o, work):
    """Every user's answer streams at the same time. A server needs two descriptors for each stream, so that two share them."""
    tokens, half = 40, o.users // 2
    long_enough = int(tokens / o.stream_rate) + 40
    mock = Mock(work, 6 * long_enough, rate=o.stream_rate, tokens=tokens)
    nodes = [SeededParley(work, f"stream{i}", half, mock.url, "--guard", o.guard) for i in range(2)]
    idle = [n.memory_mb() for n in nodes]
    runs = [Users(n.port, half, 3 * long_enough, "--api", "native", "--credentials", n.sessions, "--begin-ms", o.begin_ms, "--requests", 1,
                  "--tokens", tokens) for n in nodes]
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(Users.watch, runs, nodes))
    for i, (r, _, _) in enumerate(results):
        describe(f"all at once, server {i + 1}", r)
    for n in nodes:
        n.stop()
    mock.stop()
    most = sum(r["most_open"] for r, _, _ in results)
    grown = sum(m - i for (_, m, _), i in zip(results, idle))
    return [("streams at once", most, "streams", None, "higher"),
            ("all at once: pace of one stream", o.stream_rate, "tokens/s", None, "higher"),
            ("all at once: errors", sum(errors(r) for r, _, _ in results), "requests", 0, "lower"),
            ("all at once: gap p99 beyond the pace", max(r["gap_ms"]["p99"] for r, _, _ in results) - 1000 / o.stream_rate, "ms", None, "lower"),
            ("all at once: CPU of the servers", 100 * sum(cpu for _, _, cpu in results), "% of a core", None, "lower"),
            ("memory of a stream", 1024 * grown / max(most, 1), "KB", None, "lower")]


class SilentAnswer:
    """An answer whose first word is still to come, for readers to attach to."""

    def __init__(self, node):
        self.session = open(node.sessions, encoding="ascii").readline().strip()
        conversation = self.post(node, "/api/v1/conversations", {}, "application/json")
        conversation_id = json.loads(conversation.read())["conversation_id"]
        self.response = self.post(node, f"/api/v1/conversations/{conversation_id}/messages", {"content": "Say nothing yet."}, "text/event-stream")
        line = b""
        while not line.startswith(b"data: "):
            line = self.response.readline()
        self.message_id = json.loads(line[6:])["message"]["message_id"]

    def post(self, node, path, body, accept):
        self.connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
        self.connection.request("POST", path, json.dumps(body), {"Cookie": "parley_session=" + self.session, "Content-Type": "application/json",
                                                                 "Accept": accept})
        return self.connection.getresponse()


def idle(o, work):
    """Twice as many readers as users wait, spread over two servers: what each costs."""
    mock = Mock(work, 400, first_ms=300000)
    nodes = [SeededParley(work, f"idle{i}", 1, mock.url, "--guard", o.guard) for i in range(2)]
    answers = [SilentAnswer(n) for n in nodes]
    before = [n.memory_mb() for n in nodes]
    readers = [subprocess.Popen([program("load_attach"), "--port", str(n.port), "--path", f"/api/v1/messages/{a.message_id}/events", "--cookie",
                                 a.session, "--readers", str(o.users), "--seconds", "90"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
               for n, a in zip(nodes, answers)]
    begun = [json.loads(r.stdout.readline()) for r in readers]
    time.sleep(o.idle_seconds)  # measured is what waiting costs, not attaching
    cpu = [n.cpu_seconds() for n in nodes]
    time.sleep(o.idle_seconds)
    cpu = sum(n.cpu_seconds() - c for n, c in zip(nodes, cpu)) / o.idle_seconds
    grown = sum(n.memory_mb() - b for n, b in zip(nodes, before))
    left = [json.loads(r.communicate()[0]) for r in readers]
    for n in nodes:
        n.stop()
    mock.stop()
    attached = sum(b["attached"] for b in begun)
    print(f"idle: {attached} readers attached after {max(b['seconds'] for b in begun):.1f} s, {sum(x['still_there'] for x in left)} still there")
    return [("idle readers attached", attached, "streams", 2 * o.users, "higher"),
            ("idle readers lost", attached - sum(x["still_there"] for x in left), "streams", 0, "lower"),
            ("memory of an idle reader", 1024 * grown / max(attached, 1), "KB", None, "lower"),
            ("CPU of them all", 100 * cpu, "% of a core", None, "lower")]


def upgrade(o, work):
    """The program is replaced by itself while people ask and read."""
    users = min(o.users, 1000)
    mock = Mock(work, 300 + 200 * o.upgrades, rate=o.rate, tokens=o.tokens)
    node = SeededParley(work, "upgraded", users, mock.url, "--guard", o.guard)
    log = os.path.join(work, "upgraded.answers")
    asking = Users(node.port, users, o.upgrade_seconds * (2 * o.upgrades + 1), "--api", "native", "--credentials", node.sessions, "--log", log,
                   "--think-ms", 3000, "--again", "yes", *mock.answers)
    took = []
    for _ in range(o.upgrades):
        time.sleep(o.upgrade_seconds)
        took.append(node.upgrade())
    r = asking.result()
    describe("while upgraded", r)
    node.stop()
    mock.stop()
    answers, lost, _, doubled = compare_with_store(node.database, log)
    print(f"upgrade: {len(took)} under load, the longest over after {max(took):.1f} s; {answers} answers compared with the store")
    return [("upgrades under load", len(took), "upgrades", None, "higher"),
            ("upgrade: requests failed or refused", r["refused"] + r["failed_status"], "requests", 0, "lower"),
            ("upgrade: streams broken or different", r["broken"] + r["wrong"] + r["unfinished"], "streams", 0, "lower"),
            ("upgrade: requests sent on another connection", r["sent_again"], "requests", None, "lower"),
            ("upgrade: answers missing or different", lost, "answers", 0, "lower"),
            ("upgrade: questions stored twice", doubled, "questions", 0, "lower")]


def main():
    o = options()
    phases = {"closed": closed_loop, "streams": all_at_once, "idle": idle, "upgrade": upgrade}
    with work_folder() as work:
        print_results("10k", [row for name in o.phases.split(",") for row in phases[name](o, work)])


if __name__ == "__main__":
    main()
