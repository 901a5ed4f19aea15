#!/usr/bin/env python3
"""make bench-engine: the engine (`parley engine`) against llama-server, which is built from the same source, on the same weights.

Both get the same requests (lib/askers.py) and alternate, one idle while the other is measured; llama-server runs with the best flags
of a small sweep made first. llama-batched-bench says in the same run what the library itself can do. A request has a role's prompt
of 128 tokens, which both have cached, a question of 40 tokens that nobody has asked before, and an answer of exactly 64 tokens (the
tokens that end an answer are biased away).

Quality: greedy answers to MT-Bench's turns (a JSONL with "turns", --questions), compared text for text and token count for token
count with llama-server's at batch 1.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from lib.askers import Load, ask, closed_loop
from lib.ports import free_port
from lib.servers import Process, http_post, http_status, library_flags, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
ROLE_TOKENS, QUESTION_TOKENS, ANSWER_TOKENS, LONG_TOKENS = 128, 40, 64, 1500
ROLE = """You are a patient travel assistant of a small agency. You help people who plan a journey by train, ship or plane, and you
know the towns of the coast, the mountains and the islands well. Ask for the season, the budget and the company before you propose
anything. Give at most three proposals, each with one sentence on what makes it special and one on what it costs. Say openly when you
do not know a price or an opening time, and name the office that knows it. Never invent a train, a hotel or a rule. Keep to the
language of the question, write short sentences, and end with one question that helps to choose. Be friendly without being chatty.
Prefer the quiet way over the fast one, and the local dish over the famous one, unless somebody asks for the contrary of that."""
WORDS = """river stone garden winter bridge letter market music window paper morning island silver forest engine summer village
doctor orange castle ticket harbor corner mirror pocket shadow dinner planet butter camera desert farmer guitar hammer jacket kitchen
ladder museum needle office pencil rabbit school table uncle valley wagon yellow animal basket candle dragon energy flower golden
history insect journey kingdom lemon machine nature ocean people queen record season teacher umbrella victory weather zebra""".split()
ENDS = ["<|im_end|>", "<|endoftext|>", "</s>", "<|eot_id|>", "<|end_of_text|>", "<end_of_turn>"]


class Texts:
    """Prompts of given lengths in the model's own tokens; never the same one twice."""

    def __init__(self, port):
        self.port, self.random = port, random.Random(7)
        self.ends = [t[0] for t in (self.tokens(e, True) for e in ENDS) if len(t) == 1]
        role = ROLE.replace("\n", " ").split(" ")
        while len(self.tokens(" ".join(role))) > ROLE_TOKENS:
            role.pop()
        self.role = " ".join(role)
        self.per_word = len(self.tokens(self.words(400))) / 400

    def tokens(self, text, special=False):
        return http_post(self.port, "/tokenize", {"content": text, "add_special": False, "parse_special": special})["tokens"]

    def words(self, n):
        return " ".join(self.random.choice(WORDS) for _ in range(max(1, round(n))))

    def question(self, tokens=QUESTION_TOKENS):
        return f"Write a long story with these words: {self.words((tokens - 10) / self.per_word)}."

    def body(self, messages, max_tokens, **more):
        return {"messages": messages, "stream": True, "stream_options": {"include_usage": True}, "temperature": 0,
                "max_tokens": max_tokens, "logit_bias": {str(t): -100 for t in self.ends}, **more}

    def chat(self, user, max_tokens=ANSWER_TOKENS, tokens=QUESTION_TOKENS, **parley):
        messages = [{"role": "system", "content": self.role}, {"role": "user", "content": self.question(tokens)}]
        return self.body(messages, max_tokens, parley={"user": f"u{user}", **parley})


class Server:
    def __init__(self, name, argv, log, path):
        self.name, self.port = name, free_port()
        self.process = Process([a.replace("PORT", str(self.port)) for a in argv], log)
        wait_until(lambda: http_status(self.port, path) == 200, 180, name)

    def stop(self):
        self.process.stop()


def engine_server(o, work, model):
    data = os.path.join(work, "engine-" + model)
    os.makedirs(data, exist_ok=True)
    return Server("parley", [o.parley, "engine", "--listen", "127.0.0.1:PORT", "--data-dir", data, "--model", model,
                             "--embedding-model", "none", "--log-level", "warn", *o.engine_flags.split()],
                  os.path.join(work, "engine.log"), "/health")


def llama_server(o, work, gguf, flags):
    return Server("llama-server", [os.path.join(o.llama_tools, "llama-server"), "-m", gguf, "--host", "127.0.0.1", "--port", "PORT",
                                   "-t", str(os.cpu_count()), "--no-webui", *library_flags(), *flags], os.path.join(work, "llama-server.log"), "/health")


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))] if values else float("nan")


def token_rate(ended, running, took):
    """Tokens received in the window: pieces, times tokens per piece (a piece may join several)."""
    whole = [a for a in ended if a.good and a.usage]
    pieces = sum(len(a.times) for a in whole)
    per_piece = sum(a.usage["completion_tokens"] for a in whole) / pieces if pieces else 1
    return per_piece * sum(len(a.times) for a in ended + running) / took


def complain(name, answers):
    errors = [a.error for a in answers if a.error]
    if errors:
        print(f"      {name}: {len(errors)} errors, first: {errors[0][:200]}", flush=True)
    return len(errors)


class Bench:
    """One model's rows. Each measure_… prints its table's lines and adds results."""

    def __init__(self, o, work, model, gguf, users):
        self.o, self.work, self.model, self.gguf, self.users = o, work, model, gguf, users
        self.results = []
        self.slots = max(16, users) if users > 4 else 4
        self.llama = llama_server(o, work, gguf, self.flags(self.slots, []))
        self.texts = Texts(self.llama.port)
        self.best = []
        self.engine = None

    def flags(self, slots, extra):
        return ["-np", str(slots), "-c", str(slots * 4096 if slots <= 16 else 65536), "-fa", "on", *extra]

    def add(self, name, value, unit, aim=None, better="lower"):
        self.results.append({"name": f"{name}/{self.model}", "value": round(value, 3) if value == value else None, "unit": unit,
                             "aim": aim, "better": better})

    def row(self, what, ours, theirs, verdict=""):
        print(f"{what:<58} {ours:>22} {theirs:>22}  {verdict}", flush=True)

    def ratio(self, name, value, aim, better):
        self.add(name, value, "ratio", aim, better)
        met = value >= aim if better == "higher" else value <= aim
        return f"{value:.2f}× (aim {'≥' if better == 'higher' else '≤'} {aim}){'' if met else ' MISSED'}"

    def loop(self, server, users, seconds, **parley):
        ended, running, took = closed_loop(server.port, users, seconds, lambda u, n: self.texts.chat(u, **parley))
        complain(server.name, ended)
        return ended, running, took

    def warm(self, server, users):
        """Every slot has computed the role's prompt, and the weights are in memory."""
        load = Load(server.port)
        for u in range(users):
            load.start(u, self.texts.chat(u, max_tokens=2, wait=True), lambda a: complain(server.name, [a]))
        load.run()

    # ---- llama-server's best flags ----

    def sweep(self):
        seconds = 5 if self.o.quick else 10
        tries, seen = [["--no-kv-unified"], ["--kv-unified"]], []
        if not self.o.quick:
            tries += [["--ubatch-size", "128"], ["--poll", "0"], ["--flash-attn", "off"]]
        for i, extra in enumerate(tries):
            flags = extra if i < 2 else max(seen)[1] + extra
            self.llama.stop()
            self.llama = llama_server(self.o, self.work, self.gguf, self.flags(self.slots, flags))
            self.warm(self.llama, self.users)
            seen.append((token_rate(*self.loop(self.llama, self.users, seconds)), flags))
            print(f"  llama-server {' '.join(flags):<50} {seen[-1][0]:7.1f} tok/s at {self.users} users", flush=True)
        self.best = max(seen)[1]

    def start(self):
        """Both servers, warm; llama-server with the best flags if these were looked for."""
        self.llama.stop()
        self.llama = llama_server(self.o, self.work, self.gguf, self.flags(self.slots, self.best))
        self.engine = engine_server(self.o, self.work, self.model)
        for s in (self.engine, self.llama):
            self.warm(s, self.slots if self.o.rows != "quality" else 1)

    def stop(self):
        for s in (self.engine, self.llama):
            if s:
                s.stop()

    # ---- the library alone ----

    def library(self):
        """Best prefill and decode rates (tokens/s) that llama-batched-bench reaches with this mix: one fresh question, and as many
        sequences as users behind a prompt of role and question."""
        fresh, whole = QUESTION_TOKENS + 10, ROLE_TOKENS + QUESTION_TOKENS + 10
        prefill, decode = 0.0, 0.0
        for layout in (["--no-kv-unified", "-fa", "off"], ["--kv-unified", "-fa", "on"])[:1 if self.o.quick else 2]:
            for pp, tg, pl in ((fresh, 4, f"1,{self.users}"), (whole, ANSWER_TOKENS, str(self.users))):
                out = subprocess.run([os.path.join(self.o.llama_tools, "llama-batched-bench"), "-m", self.gguf, "-c", "16384", "-b", "512",
                                      "-ub", "512", *layout, "-t", str(os.cpu_count()), "-npp", str(pp), "-ntg", str(tg),
                                      "-npl", pl, "--output-format", "jsonl", *library_flags()], capture_output=True, text=True, check=True).stdout
                for line in (json.loads(l) for l in out.splitlines() if l.startswith("{")):
                    if pp == fresh:
                        prefill = max(prefill, line["speed_pp"])
                    else:
                        decode = max(decode, line["speed_tg"])
        self.add("library_prefill", prefill, "tok/s", better="higher")
        self.add(f"library_decode_{self.users}", decode, "tok/s", better="higher")
        return prefill, decode

    # ---- the rows ----

    def measure_throughput(self):
        rounds, seconds = (2, 6) if self.o.quick else (3, 15)
        rates = {self.engine: [], self.llama: []}
        fresh, limits = QUESTION_TOKENS + 10, []
        for i in range(rounds):
            prefill, decode = self.library() if i == 0 or not self.o.quick else (prefill, decode)
            for s in (list(rates) if i % 2 == 0 else list(reversed(rates))):
                ended, running, took = self.loop(s, self.users, seconds, wait=True)
                rates[s].append(token_rate(ended, running, took))
                if s is self.engine:
                    used = [a.usage for a in ended if a.usage]
                    if used:
                        fresh = statistics.mean(u["prompt_tokens"] - u["prompt_tokens_details"]["cached_tokens"] for u in used)
            limits.append(ANSWER_TOKENS / (fresh / prefill + ANSWER_TOKENS / decode))
        ours, theirs, limit = (statistics.median(x) for x in (rates[self.engine], rates[self.llama], limits))
        spread = lambda v: f"({min(v):.0f}–{max(v):.0f})"
        self.row(f"total tokens/s, {self.users} users", f"{ours:.1f} {spread(rates[self.engine])}", f"{theirs:.1f} {spread(rates[self.llama])}",
                 self.ratio(f"tokens_per_second_to_llama_server/{self.users}_users", ours / (theirs or 0.01), 1.5, "higher"))
        self.row(f"  the library alone: prefill {prefill:.0f}, decode {decode:.0f}, {fresh:.0f} fresh", "", f"{limit:.1f}",
                 self.ratio(f"tokens_per_second_to_library/{self.users}_users", ours / limit, 0.9, "higher"))
        self.add(f"tokens_per_second/{self.users}_users", ours, "tok/s", better="higher")
        self.add(f"tokens_per_second_llama_server/{self.users}_users", theirs, "tok/s", better="higher")

    def measure_one_user(self):
        rounds, each = (2, 8) if self.o.quick else (4, 12)
        ttft = {self.engine: [], self.llama: []}
        for i in range(rounds):
            for s in (list(ttft) if i % 2 == 0 else list(reversed(ttft))):
                ask(s.port, self.texts.chat(0, max_tokens=1, wait=True))  # after whoever the row before left there
                answers = [ask(s.port, self.texts.chat(0, max_tokens=8)) for _ in range(each)]
                complain(s.name, answers)
                ttft[s].append([a.ttft * 1000 for a in answers if a.ttft])
        ours, theirs = (quantile(sum(ttft[s], []), 0.5) for s in (self.engine, self.llama))
        spread = lambda s: f"({min(map(statistics.median, ttft[s])):.0f}–{max(map(statistics.median, ttft[s])):.0f})"
        self.row("TTFT p50, 1 user, role prompt cached", f"{ours:.0f} ms {spread(self.engine)}", f"{theirs:.0f} ms {spread(self.llama)}",
                 self.ratio("ttft_p50_to_llama_server/1_user", ours / theirs, 0.8, "lower"))
        self.add("ttft_p50/1_user", ours, "ms")

    def goodput(self, answers, took):
        return sum(1 for a in answers if a.good and a.ttft < 1) / took

    def measure_offered(self):
        seconds = 6 if self.o.quick else 15
        for users in (8, 32, 128):
            ended, running, took = self.loop(self.engine, users, seconds)
            admitted = [a for a in ended + running if a.first]
            late = [a for a in running if not a.first and not a.status and a.sent and time.perf_counter() - a.sent > 1]
            refused = [(a.ended - a.sent) * 1000 for a in ended if a.refused]
            read = [(a.read - a.sent) * 1000 for a in ended if a.refused and a.read]
            p99 = quantile([a.ttft * 1000 for a in admitted] + [took * 1000 for _ in late], 0.99)
            self.add(f"ttft_p99/{users}_users", p99, "ms", 1000)
            self.row(f"TTFT p99 of admitted, {users} users offered", f"{p99:.0f} ms", "",
                     f"aim < 1000 ms{'' if p99 < 1000 else ' MISSED'}; {len(admitted)} admitted, {len(refused)} refused")
            if users == 32:
                self.compare_goodput(self.goodput(ended, took), seconds)
            if users == 128:
                p99 = quantile(refused, 0.99)
                self.add("refusal_p99", p99, "ms", 20)
                self.row("refusal time p99, 128 users", f"{p99:.1f} ms", "", f"aim < 20 ms{'' if p99 < 20 else ' MISSED'}")
                self.row("  p50 / p90 / longest, after more than 100 ms",
                         f"{quantile(refused, 0.5):.1f} / {quantile(refused, 0.9):.1f} / {max(refused, default=0):.0f} ms, "
                         f"{sum(r > 100 for r in refused)}", "", f"p99 until the bench has read it {quantile(read, 0.99):.1f} ms")
                self.add("refusal_p99_read_by_the_bench", quantile(read, 0.99), "ms")

    def compare_goodput(self, ours, seconds):
        """llama-server with as many slots as in the sweep, and with one for each user: whichever is better."""
        theirs = self.goodput(*self.loop(self.llama, 32, seconds)[::2])
        self.llama.stop()
        self.llama = llama_server(self.o, self.work, self.gguf, self.flags(32, self.best))
        self.warm(self.llama, 32)
        theirs = max(theirs, self.goodput(*self.loop(self.llama, 32, seconds)[::2]))
        self.llama.stop()
        self.llama = llama_server(self.o, self.work, self.gguf, self.flags(self.slots, self.best))
        self.warm(self.llama, self.slots)
        self.row("goodput: answers/s with TTFT < 1 s, 32 users", f"{ours:.2f}", f"{theirs:.2f}",
                 self.ratio("goodput_to_llama_server/32_users", ours / (theirs or 0.01), 3.0, "higher"))
        self.add("goodput/32_users", ours, "1/s", better="higher")
        self.add("goodput_llama_server/32_users", theirs, "1/s", better="higher")

    def conversation(self, server, number):
        messages, ttft = [{"role": "system", "content": self.texts.role}], []
        for _ in range(10):
            messages.append({"role": "user", "content": self.texts.question()})
            a = ask(server.port, self.texts.body(messages, 32, parley={"user": "talker", "conversation": f"talk-{number}"}))
            complain(server.name, [a])
            messages.append({"role": "assistant", "content": a.text})
            ttft.append((a.ttft or float("nan")) * 1000)
        return ttft

    def measure_turns(self):
        n = 2 if self.o.quick else 4
        for s in (self.engine, self.llama):
            ask(s.port, self.texts.chat(0, max_tokens=1, wait=True))  # after whoever the row before left there
        talks = {s: [self.conversation(s, i) for i in range(n if s is self.engine else max(1, n // 2))] for s in (self.engine, self.llama)}
        second, tenth = ({s: statistics.median(t[k] for t in talks[s]) for s in talks} for k in (1, 9))
        self.row("TTFT of turn 10 against turn 2", f"{tenth[self.engine]:.0f} / {second[self.engine]:.0f} ms",
                 f"{tenth[self.llama]:.0f} / {second[self.llama]:.0f} ms",
                 self.ratio("ttft_turn_10_to_turn_2", tenth[self.engine] / second[self.engine], 1.3, "lower"))

    def long_prompt_gap(self, server):
        """Longest gap between tokens of 4 running answers while a long prompt is prefilled, and the normal step (median gap)."""
        load, state = Load(server.port), {"long": None}
        runners = []

        def on_piece(_):
            if state["long"] is None and all(len(a.times) >= 15 for a in runners):
                state["long"] = load.start(9, self.texts.chat(9, max_tokens=1, tokens=LONG_TOKENS, wait=True), lambda a: None)

        for u in range(4):
            runners.append(load.start(u, self.texts.chat(u, max_tokens=400, wait=True), lambda a: None, on_piece))
        end = time.perf_counter() + 90
        load.run(end, lambda: state["long"] is not None and state["long"].ended is not None)
        long = state["long"]
        complain(server.name, runners + [long])
        gaps, normal = [], []
        for a in runners:
            for before, after in zip(a.times, a.times[1:]):
                inside = after > long.sent and before < long.ended
                (gaps if inside else normal).append((after - before) * 1000)
        step = statistics.median(normal or [float("nan")])
        return max(gaps or [float("nan")]), step, long.ttft or float("nan")

    def measure_gap(self):
        runs = {s: [self.long_prompt_gap(s) for _ in range(1 if self.o.quick else 2)] for s in (self.engine, self.llama)}
        worst = {s: max(runs[s], key=lambda r: r[0] / r[1]) for s in runs}
        text = {s: f"{w[0]:.0f} / {w[1]:.0f} ms" for s, w in worst.items()}
        first = {s: max(r[2] for r in runs[s]) for s in runs}
        self.row("longest gap while 1,500 tokens are prefilled / a step", text[self.engine], text[self.llama],
                 self.ratio("longest_gap_to_step", worst[self.engine][0] / worst[self.engine][1], 4.0, "lower"))
        self.row("  that prompt's first word", f"{first[self.engine]:.1f} s", f"{first[self.llama]:.1f} s")
        self.add("long_prompt_ttft_beside_answers", first[self.engine] * 1000, "ms")

    # ---- quality ----

    def greedy(self, port, turns):
        answers, messages = [], []
        for turn in turns:
            messages.append({"role": "user", "content": turn})
            a = ask(port, {"messages": messages, "stream": True, "stream_options": {"include_usage": True}, "temperature": 0,
                           "max_tokens": self.o.answer_tokens, "cache_prompt": True})
            complain("quality", [a])
            messages.append({"role": "assistant", "content": a.text})
            tokens = a.usage["completion_tokens"] if a.usage else -1
            if port != self.engine.port and a.finish == "stop":
                tokens -= 1  # it counts the token that ended the answer
            answers.append((a.text, tokens, a.finish))
        return answers

    def measure_quality(self):
        if not self.o.questions:
            print("quality: no file of questions (--questions FILE); not measured", flush=True)
            return
        with open(self.o.questions, encoding="utf-8") as f:
            questions = [json.loads(line)["turns"] for line in f if line.strip()]
        n = self.o.turns or (8 if self.o.quick else sum(map(len, questions)))
        if not self.o.turns and not self.o.quick and self.users <= 4:
            questions = questions[::4]  # of the slower model every fourth: all take it a quarter of an hour
        # The same kernels as the engine's: flash attention rounds otherwise, and otherwise again for other pieces of a prompt.
        alone = llama_server(self.o, self.work, self.gguf, ["-np", "1", "-c", "4096", "-fa", "off"])
        same = total = 0
        try:
            for turns in questions:
                if total >= n:
                    break
                ours, theirs = self.greedy(self.engine.port, turns), self.greedy(alone.port, turns)
                total += len(turns)
                same += sum(a == b for a, b in zip(ours, theirs))
        finally:
            alone.stop()
        self.add("greedy_answers_equal_to_llama_server", same / total, "share", 1.0, "higher")
        self.row(f"greedy answers to MT-Bench equal, {total} turns", f"{same} of {total}", "", "" if same == total else "MISSED")


def measure(o, work, model, gguf, users):
    b = Bench(o, work, model, gguf, users)
    print(f"\n{model} ({os.path.basename(gguf)})", flush=True)
    try:
        if not o.rows or {"throughput", "offered", "gap"} & set(o.rows.split(",")):
            b.sweep()
        b.start()
        print(f"  best flags: {' '.join(b.best)}\n\n{'':<58} {'parley':>22} {'llama-server':>22}", flush=True)
        rows = {"throughput": b.measure_throughput, "one": b.measure_one_user, "offered": b.measure_offered, "turns": b.measure_turns,
                "gap": b.measure_gap, "quality": b.measure_quality}
        for name, row in rows.items():
            if not o.rows or name in o.rows.split(","):
                row()
    finally:
        b.stop()
    return b.results


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--parley", required=True, help="the parley binary")
    p.add_argument("--llama-tools", required=True, help="the folder of llama-server and llama-batched-bench")
    p.add_argument("--model", action="append", required=True, metavar="NAME=GGUF:USERS", help="a model and its users of the first row")
    p.add_argument("--quick", action="store_true", help="shorter windows and a smaller sweep")
    p.add_argument("--rows", help="only these, by commas: throughput,one,offered,turns,gap,quality")
    p.add_argument("--engine-flags", default="", help="more flags for parley engine")
    shared = os.path.join(HERE, "..", "..", "shared", "data", "chat", "mt_bench_questions.jsonl")
    p.add_argument("--questions", default=shared if os.path.exists(shared) else None, help="MT-Bench's question.jsonl")
    p.add_argument("--turns", type=int, default=0, help="at most so many turns of it (default all, of a model with at most 4 users every fourth question; 8 with --quick)")
    p.add_argument("--answer-tokens", type=int, default=32, help="length of those answers")
    o = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    work = tempfile.mkdtemp(prefix="parley-bench-")
    results = []
    try:
        for spec in o.model:
            name, rest = spec.split("=", 1)
            gguf, users = rest.rsplit(":", 1)
            results += measure(o, work, name, gguf, int(users))
    except BaseException:
        subprocess.run(["tail", "-n", "5"] + [os.path.join(work, f) for f in os.listdir(work) if f.endswith(".log")], check=False)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(json.dumps({"bench": "engine", "results": results}))


if __name__ == "__main__":
    sys.exit(main())
