#!/usr/bin/env python3
"""make bench-soak: the engine under random load for 30 minutes. Its memory must stay flat, and no slot and no request may be lost.

Twenty-four clients ask in random ways: short and long prompts, conversations that go on, streams and whole answers, waiting, tight
deadlines, the background, stops, seeds, biases, JSON, texts to embed, bad requests; one in six breaks off in the middle. Every
answer must be one of those that the request may get. Afterwards nothing may run or wait, and all slots must answer at once.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time

from lib.ports import free_port
from lib.servers import Process, http_status, wait_until

CLIENTS = 24
WORDS = "river stone garden winter bridge letter market music window paper morning island silver forest engine summer".split()
ENDLESS = {"0": -100, "2": -100}  # SmolLM2's tokens that end an answer


def request_of(r, history):
    """(path, body, statuses that are right)"""
    kind = r.random()
    text = " ".join(r.choice(WORDS) for _ in range(r.choice([3, 20, 20, 60, 400])))
    if kind < 0.1:
        return "/v1/embeddings", {"input": [text] * r.choice([1, 1, 8]), "parley": {"background": r.random() < 0.5}}, {200, 429}
    if kind < 0.16:
        bad = r.choice([{"messages": []}, {"messages": [{"role": "user", "content": text}], "max_tokens": 0},
                        {"messages": [{"role": "user", "content": text * 200}]},
                        {"messages": [{"role": "user", "content": text}], "logit_bias": {"999999": 1}}])
        return "/v1/chat/completions", bad, {400, 429}  # 429: nobody had the time to look at it
    if len(history) > 8 or r.random() < 0.4:
        history.clear()
        history.append({"role": "system", "content": "You are helper number %d. Be brief." % r.randrange(6)})
    history.append({"role": "user", "content": text})
    parley = {"conversation": f"c{id(history)}", "user": f"u{r.randrange(9)}"}
    parley |= r.choice([{}, {"wait": True}, {"wait": True, "wait_ms": 5000}, {"deadline_ms": 300}, {"deadline_ms": 0},
                        {"background": True, "wait": True}])
    body = {"messages": list(history), "stream": r.random() < 0.7, "max_tokens": r.choice([1, 8, 30, 120]),
            "temperature": r.choice([0, 0.8]), "parley": parley}
    body |= r.choice([{}, {}, {"stop": [" the", "."]}, {"seed": 3}, {"logprobs": True, "top_logprobs": 2},
                      {"response_format": {"type": "json_object"}}, {"presence_penalty": 1}])
    return "/v1/chat/completions", body, {200, 429, 400}  # 400: the conversation has outgrown the window


class Soak:
    def __init__(self, port, seed):
        self.port, self.seed = port, seed
        self.counts, self.wrong = {}, []

    async def ask(self, r, history, leave):
        path, body, right = request_of(r, history)
        data = json.dumps(body).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                         % (path.encode(), len(data)) + data)
            if leave:
                try:
                    await asyncio.wait_for(reader.read(r.choice([1, 400, 2000])), r.choice([0.1, 2, 10]))
                except asyncio.TimeoutError:
                    pass  # it leaves before anything came
                self.count("left")
                return
            answer = await asyncio.wait_for(reader.read(), 600)
        except asyncio.TimeoutError:
            self.wrong.append(f"no answer within 600 s: {path}")
            return
        finally:
            writer.close()
        status = int(answer.split(None, 2)[1]) if answer else 0
        self.count(str(status))
        if status not in right:
            self.wrong.append(f"{status} to {path}")
        elif status == 200 and body.get("stream") and b"data: [DONE]" not in answer and b'"error"' not in answer:
            self.wrong.append("a stream without its end")
        elif status == 429 and b"Retry-After" not in answer:
            self.wrong.append("429 without Retry-After")

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    async def client(self, n, until):
        r, history = random.Random(self.seed * 1000 + n), []
        while time.monotonic() < until:
            await self.ask(r, history, r.random() < 0.17)
            if r.random() < 0.2:
                await asyncio.sleep(r.random())

    async def run(self, seconds, watch):
        until = time.monotonic() + seconds
        watcher = asyncio.create_task(watch())
        await asyncio.gather(*(self.client(n, until) for n in range(CLIENTS)))
        watcher.cancel()


async def metrics(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line.startswith("parley_engine_") and "{" not in line}


def resident_mib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        fields = dict(line.split(":", 1) for line in f if ":" in line)
    return int(fields["RssAnon"].split()[0]) / 1024


async def slots_at_once(port, slots):
    """How many of as many answers as there are slots are found running together."""
    body = json.dumps({"messages": [{"role": "user", "content": "go on"}], "stream": True, "max_tokens": 150, "logit_bias": ENDLESS,
                       "parley": {"wait": True}}).encode()
    open_ones = []
    for _ in range(slots):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        open_ones.append((reader, writer))
    most = 0
    for reader, _ in open_ones:
        await reader.readuntil(b"data: ")
        most = max(most, (await metrics(port))["parley_engine_sequences_running"])
    for _, writer in open_ones:
        writer.close()
    return most


async def quiet(port):
    for _ in range(3000):
        m = await metrics(port)
        if m["parley_engine_sequences_running"] == 0 and m["parley_engine_requests_queued"] == 0:
            return m
        await asyncio.sleep(0.1)
    return m


async def measure(options, port, pid):
    soak, memory = Soak(port, options.seed), []
    every = max(1, options.seconds / 30)

    async def watch():
        while True:
            await asyncio.sleep(every)
            memory.append(resident_mib(pid))
            print(f"  {len(memory) * every:6.0f} s  {memory[-1]:8.1f} MiB  {sum(soak.counts.values()):7d} requests", flush=True)

    await soak.run(options.seconds, watch)
    m = await quiet(port)
    third = memory[len(memory) // 3:] or [resident_mib(pid)]
    growth = third[-1] / third[0]
    slots = m["parley_engine_slots"]
    together = await slots_at_once(port, int(slots))
    await quiet(port)
    print("\nanswers: " + ", ".join(f"{n} × {k}" for k, n in sorted(soak.counts.items())))
    print(f"memory after a third of the time {third[0]:.1f} MiB, at the end {third[-1]:.1f} MiB")
    print(f"left running {m['parley_engine_sequences_running']:.0f}, left waiting {m['parley_engine_requests_queued']:.0f}; "
          f"{together:.0f} of {slots:.0f} slots answer together; let in and late: {m['parley_engine_late_total']:.0f}")
    for w in sorted(set(soak.wrong))[:10]:
        print("wrong:", w, "×", soak.wrong.count(w))
    return [("requests", sum(soak.counts.values()), "count", None, "higher"), ("wrong_answers", len(soak.wrong), "count", 0, "lower"),
            ("memory_growth_after_a_third", growth, "ratio", 1.05, "lower"),
            ("requests_lost", m["parley_engine_sequences_running"] + m["parley_engine_requests_queued"], "count", 0, "lower"),
            ("slots_lost", slots - together, "count", 0, "lower")]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--parley", default=os.path.join(os.path.dirname(__file__), "..", "build", "parley"))
    p.add_argument("--model", default="smollm2-135m-instruct")
    p.add_argument("--seconds", type=float, default=1800)
    p.add_argument("--quick", action="store_true", help="one minute")
    p.add_argument("--seed", type=int, default=1)
    options = p.parse_args()
    if options.quick:
        options.seconds = 60
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    work, port = tempfile.mkdtemp(prefix="parley-soak-"), free_port()
    log = os.path.join(work, "engine.log")
    engine = Process([options.parley, "engine", "--listen", f"127.0.0.1:{port}", "--model", options.model, "--log-level", "warn"], log)
    try:
        wait_until(lambda: http_status(port, "/health") == 200, 120, "the engine")
        results = asyncio.run(measure(options, port, engine.child.pid))
    except BaseException:
        with open(log, encoding="utf-8", errors="replace") as f:
            sys.stderr.write(f.read()[-3000:])
        raise
    finally:
        engine.stop()
        shutil.rmtree(work, ignore_errors=True)
    print(json.dumps({"bench": "soak", "results": [
        {"name": n, "value": round(v, 4), "unit": u, "aim": a, "better": b} for n, v, u, a, b in results]}))


if __name__ == "__main__":
    main()
