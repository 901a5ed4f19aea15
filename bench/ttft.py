#!/usr/bin/env python3
"""make bench-ttft: time to first token through the complete program and through llama-server.

100 standard prompts (bench/prompts.jsonl, 25 for each role) go through Parley as a person's would (HTTP, session, role, store,
SSE) and through llama-server, built from the same fetched source, with the same weight file and the same role prompts. Users
form a closed loop: each asks, reads the whole answer, asks the next. The two systems alternate in rounds, each round on a
share of the prompts, while the other one is idle; the spread given is that of the rounds' medians.

TTFT: from the request's last byte sent to the first content received, at the client.
"""

import argparse
import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from lib.servers import LlamaServer, Parley, api

HERE = os.path.dirname(os.path.abspath(__file__))


def sse_events(response):
    """Yields (event, data) from an SSE response as it arrives."""
    event, data = "message", []
    for raw in response:
        line = raw.rstrip(b"\r\n")
        if not line:
            if data:
                yield event, b"\n".join(data)
            event, data = "message", []
        elif line.startswith(b"event:"):
            event = line[6:].strip().decode()
        elif line.startswith(b"data:"):
            data.append(line[5:].strip())


class ParleyUser:
    def __init__(self, system):
        self.s = system
        self.c = http.client.HTTPConnection("127.0.0.1", system.port, timeout=120)

    def ask(self, role, prompt):
        conversation, _ = api(self.s.port, "POST", "/api/v1/conversations",
                              {"assistant_role_id": self.s.roles[role]["role_id"]}, self.s.cookie)
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream", "Cookie": self.s.cookie}
        self.c.request("POST", f"/api/v1/conversations/{conversation['conversation_id']}/messages",
                       json.dumps({"content": prompt}), headers)
        start = time.perf_counter()
        response = self.c.getresponse()
        if response.status != 200:
            return None, f"{response.status} {response.read()[:200]!r}"
        first, tokens, error = None, None, None
        for event, data in sse_events(response):  # to the end: the connection is used again
            if event == "token" and first is None:
                first = time.perf_counter() - start
            elif event == "done":
                message = json.loads(data)["message"]
                if message["status"] != "complete" or not message["usage"]:
                    error = f"an answer {message['status']}, {message['finish_reason']}, usage {message['usage']}"
                else:
                    tokens = message["usage"]["completion_tokens"]
            elif event == "error":
                error = data.decode()[:200]
        return (None, error) if error else ((first, time.perf_counter() - start, tokens), None)


class LlamaUser:
    def __init__(self, system, roles, max_tokens):
        self.s, self.roles, self.max_tokens = system, roles, max_tokens
        self.c = None

    def ask(self, role, prompt):
        body = {"messages": [{"role": "system", "content": self.roles[role]["system_prompt"]},
                             {"role": "user", "content": prompt}], "stream": True, "temperature": 0,
                "max_tokens": self.max_tokens, "stream_options": {"include_usage": True}}
        self.c = http.client.HTTPConnection("127.0.0.1", self.s.port, timeout=120)  # it closes kept-alive connections
        self.c.connect()
        self.c.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        start = time.perf_counter()
        response = self.c.getresponse()
        if response.status != 200:
            return None, f"{response.status} {response.read()[:200]!r}"
        first, tokens = None, None
        for _, data in sse_events(response):
            if data == b"[DONE]":
                break
            chunk = json.loads(data)
            if chunk.get("usage"):
                tokens = chunk["usage"]["completion_tokens"]
            if first is None and chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                first = time.perf_counter() - start
        self.c.close()
        return (first, time.perf_counter() - start, tokens), None


def run_round(make_user, users, prompts):
    """A closed loop of `users` over prompts; returns (measurements, errors, wall seconds)."""
    todo, lock, results, errors = list(reversed(prompts)), threading.Lock(), [], []

    def loop():
        user = make_user()
        while True:
            with lock:
                if not todo:
                    return
                p = todo.pop()
            try:
                got, error = user.ask(p["role"], p["prompt"])
            except (OSError, http.client.HTTPException, ValueError) as e:
                got, error, user = None, f"{type(e).__name__}: {e}", make_user()
            with lock:
                (errors if error else results).append(error or got)

    start = time.perf_counter()
    threads = [threading.Thread(target=loop) for _ in range(users)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results, errors, time.perf_counter() - start


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))] if values else float("nan")


def summarise(rounds, users):
    rows = [r for results, _, _ in rounds for r in results]
    ttft = [r[0] * 1000 for r in rows if r[0] is not None]
    medians = [statistics.median(r[0] * 1000 for r in results if r[0] is not None) for results, _, _ in rounds if results]
    return {
        "n": len(rows), "errors": sum(len(e) for _, e, _ in rounds),
        "p50": quantile(ttft, 0.5), "p99": quantile(ttft, 0.99), "spread": (min(medians), max(medians)),
        "whole": quantile([r[1] * 1000 for r in rows], 0.5),
        # while answering: opening connections and conversations is no token's time
        "rate": users * sum(r[2] or 0 for r in rows) / max(1e-9, sum(r[1] for r in rows)),
    }


def measure(options, model, gguf, user_counts, work, results):
    prompts = [json.loads(line) for line in open(os.path.join(HERE, "prompts.jsonl"), encoding="utf-8")]
    by_role = {}
    for p in prompts:
        by_role.setdefault(p["role"], []).append(p)
    mixed = [p for group in zip(*by_role.values()) for p in group][: options.prompts]
    parley = Parley(options.parley, work, model)
    time.sleep(3)  # idle means idle: start-up's own work is over
    memory = parley.memory_kb()
    parley.set_parameters(options.max_tokens)
    print(f"\n{model}: idle memory (PSS) " + ", ".join(f"{k} {v / 1024:.1f} MB" for k, v in sorted(memory.items())), flush=True)
    print(f"{'users':>5} {'system':<13} {'n':>4} {'err':>3} {'TTFT p50':>9} {'(rounds)':>15} {'p99':>8} {'answer p50':>10} {'tok/s':>7}")
    try:
        for users in user_counts:
            llama = LlamaServer(options.llama_server, work, gguf, max(users, 1), options.context, os.cpu_count())
            try:
                systems = {"parley": lambda: ParleyUser(parley), "llama-server": lambda: LlamaUser(llama, parley.roles, options.max_tokens)}
                warm = [by_role[r][0] for r in by_role for _ in range(users)]
                for make in systems.values():
                    run_round(make, users, warm)
                rounds = {name: [] for name in systems}
                share = max(1, len(mixed) // options.rounds)
                for i in range(options.rounds):
                    part = mixed[i * share:] if i == options.rounds - 1 else mixed[i * share:(i + 1) * share]
                    order = list(systems) if i % 2 == 0 else list(reversed(systems))
                    for name in order:
                        rounds[name].append(run_round(systems[name], users, part))
            finally:
                llama.stop()
            s = {name: summarise(r, users) for name, r in rounds.items()}
            for name, v in s.items():
                print(f"{users:>5} {name:<13} {v['n']:>4} {v['errors']:>3} {v['p50']:>7.0f}ms {v['spread'][0]:>6.0f}–{v['spread'][1]:.0f}ms "
                      f"{v['p99']:>6.0f}ms {v['whole']:>8.0f}ms {v['rate']:>7.1f}", flush=True)
            for errors in (e for r in rounds.values() for _, e, _ in r if e):
                print("      error:", errors[0])
            tag = f"{model}/{users}"
            if users == 1:
                results.append((f"ttft_p50_ratio_to_llama_server/{tag}", s["parley"]["p50"] / s["llama-server"]["p50"], "ratio", 1.0))
            results.append((f"ttft_p99/{tag}", s["parley"]["p99"], "ms", 1000.0))
            for name, key, unit in (("ttft_p50", "p50", "ms"), ("answer_p50", "whole", "ms"), ("tokens_per_second", "rate", "tok/s")):
                for system in s:
                    results.append((f"{name}/{tag}/{system}", s[system][key], unit, None))
            results.append((f"errors/{tag}", s["parley"]["errors"], "count", 0))
    finally:
        parley.stop()
    own = sum(v for k, v in memory.items() if k != "engine") / 1024
    results.append((f"idle_memory_supervisor_and_server/{model}", own, "MB", 40.0))
    results.append((f"idle_memory_engine/{model}", memory.get("engine", 0) / 1024, "MB", None))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--parley", required=True, help="the parley binary")
    p.add_argument("--llama-server", required=True, help="llama-server built from the same source")
    p.add_argument("--model", action="append", required=True, metavar="NAME=GGUF:USERS,USERS",
                   help="catalogue name, its prepared weight file and the numbers of users")
    p.add_argument("--prompts", type=int, default=100)
    p.add_argument("--rounds", type=int, default=4)
    p.add_argument("--max-tokens", type=int, default=64)
    p.add_argument("--context", type=int, default=4096)
    options = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    work = tempfile.mkdtemp(prefix="parley-bench-")
    results = []
    try:
        for spec in options.model:
            name, rest = spec.split("=", 1)
            gguf, users = rest.rsplit(":", 1)
            measure(options, name, gguf, [int(u) for u in users.split(",")], work, results)
    except BaseException:
        subprocess.run(["tail", "-n", "5"] + [os.path.join(work, f) for f in os.listdir(work) if f.endswith(".log")], check=False)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    higher = ("tokens_per_second",)
    print(json.dumps({"bench": "ttft", "results": [
        {"name": n, "value": round(v, 3), "unit": u, "aim": a, "better": "higher" if n.startswith(higher) else "lower"}
        for n, v, u, a in results]}))


if __name__ == "__main__":
    sys.exit(main())
