#!/usr/bin/env python3
"""Part of make bench-learn: how long an approved answer takes to be served, through the complete program.

The program runs with its own engine (chat model and embeddings). Questions of the given file (paraphrases: the first of each pair is
approved with an answer) are asked in the other words, one after the other, each beginning a conversation; what is the same by the
program's rules is measured. From the request's last byte
sent to the first text, and to the end of the answer, at the client; CPU time is of all processes of the program. What others used of
the machine meanwhile is said beside it: the times are only worth something where that is next to nothing. Writes lines (name, value,
unit, aim, better; tabs between) that bench_learn adds to its results.
"""

import argparse
import http.client
import json
import os
import shutil
import sys
import tempfile
import time

from lib.servers import Parley, api, wait_until
from ttft import quantile, sse_events

ROLE = "general-assistant"


def cpu_seconds(session):
    ticks = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(pid)) == session:
                ticks += sum(map(int, open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[11:13]))
        except (OSError, ProcessLookupError):
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def busy_seconds():
    """Of all processors, of all processes and the kernel."""
    with open("/proc/stat", encoding="ascii") as f:
        user, nice, kernel, _, _, irq, soft, steal = map(int, f.readline().split()[1:9])
    return (user + nice + kernel + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def ask(system, question):
    """(seconds to the first text, to the end, whether the approved answer was served)"""
    fields = {"assistant_role_id": system.roles[ROLE]["role_id"], "title": "asked"}  # named: the model has no title to make
    conversation, _ = api(system.port, "POST", "/api/v1/conversations", fields, system.cookie)
    c = http.client.HTTPConnection("127.0.0.1", system.port, timeout=120)
    c.connect()
    c.request("POST", f"/api/v1/conversations/{conversation['conversation_id']}/messages", json.dumps({"content": question}),
              {"Content-Type": "application/json", "Accept": "text/event-stream", "Cookie": system.cookie})
    start, first, served = time.perf_counter(), None, False
    response = c.getresponse()
    if response.status != 200:
        raise SystemExit(f"bench: the program answered {response.status}: {response.read()[:200]!r}")
    for event, data in sse_events(response):
        if event == "token" and first is None:
            first = time.perf_counter() - start
        elif event == "done":
            served = json.loads(data)["message"]["finish_reason"] == "approved"
            break
        elif event == "error":
            raise SystemExit(f"bench: {data[:200]!r}")
    end = time.perf_counter() - start
    c.close()
    return first, end, served


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--parley", required=True)
    p.add_argument("--questions", required=True)
    p.add_argument("--model", default="smollm2-135m-instruct")
    p.add_argument("--answers", type=int, default=100)
    p.add_argument("--asked", type=int, default=1000)
    p.add_argument("--out", required=True)
    o = p.parse_args()
    with open(o.questions, encoding="utf-8") as f:
        pairs = [line.rstrip("\n").split("\t")[1:] for line in f if line.startswith("same\t")]
    known = {a: b for a, b in pairs}
    known = dict(list(known.items())[: o.answers])
    work = tempfile.mkdtemp(prefix="parley-bench-learn-")
    system = Parley(o.parley, work, o.model)
    try:
        system.set_parameters(8)  # where the model answers it is not measured
        role = system.roles[ROLE]["role_id"]
        for a in known:
            api(system.port, "POST", "/api/v1/learning/answers", {"role_id": role, "question": a, "answer": f"The approved answer to: {a}"}, system.cookie)
        oldest = list(known)[:8]  # the newest are embedded first
        wait_until(lambda: all(ask(system, q)[2] for q in oldest), 180, "the vectors of the approved answers")
        answered = [q for q in known.values() if ask(system, q)[2]]
        session, busy = system.process.child.pid, [0.0]

        def rests():  # what the model was asked for the others is over
            before, busy[0] = busy[0], cpu_seconds(session)
            time.sleep(0.5)
            return busy[0] - before < 0.05

        wait_until(rests, 60, "rest")
        found, before = [], cpu_seconds(session)
        began, own, all_busy = time.perf_counter(), time.process_time(), busy_seconds()
        for i in range(o.asked if answered else 0):
            first, end, served = ask(system, answered[i % len(answered)])
            if served:
                found.append((first, end))
        cpu = cpu_seconds(session) - before
        own = time.process_time() - own
        others = max(0.0, busy_seconds() - all_busy - cpu - own) / ((time.perf_counter() - began) * os.cpu_count())
    finally:
        system.stop()
        shutil.rmtree(work, ignore_errors=True)
    if not found:
        raise SystemExit("bench: no approved answer was served")
    firsts, ends = [1e3 * f for f, _ in found], [1e3 * e for _, e in found]
    cpu_ms = 1e3 * cpu / len(found)
    print(f"\napproved answers through the program: {len(known)} known, {len(answered)} of them served for other words, {len(found)} times\n"
          f"  to the first text p50 {quantile(firsts, 0.5):.1f} ms, p99 {quantile(firsts, 0.99):.1f} ms; to the end p50 {quantile(ends, 0.5):.1f} ms, "
          f"p95 {quantile(ends, 0.95):.1f} ms, p99 {quantile(ends, 0.99):.1f} ms; CPU {cpu_ms:.1f} ms for each; others used "
          f"{100 * others:.0f} % of the machine meanwhile", file=sys.stderr)
    rows = [("a served answer, whole, through the program, p50", quantile(ends, 0.5), "ms", "50", "lower"),
            ("a served answer, whole, through the program, p95", quantile(ends, 0.95), "ms", "50", "lower"),
            ("a served answer, whole, through the program, p99", quantile(ends, 0.99), "ms", "50", "lower"),
            ("a served answer, CPU time of the program", cpu_ms, "ms", "", "lower"),
            ("a served answer, what others used of the machine meanwhile", others, "share", "", "lower")]
    with open(o.out, "w", encoding="utf-8") as f:
        for name, value, *rest in rows:
            f.write("\t".join([f"approved answers: {name}", f"{value:.3f}", *rest]) + "\n")


if __name__ == "__main__":
    main()
