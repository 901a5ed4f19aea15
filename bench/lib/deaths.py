"""bench/chaos.py --alone: one reader of each model's answers, and how long an answer stands still, or a first word is waited for, when one
process is killed or stopped at a certain moment. Beside each gap stands how late this program was itself meanwhile, as a machine that
stands still does so for all; and of an engine's death, when each part of its return was over, from the log. Standard library only."""

import asyncio
import collections
import json
import os
import signal
import statistics
import time
from datetime import datetime

from lib.load import print_results
from lib.returning import ANSWER_SECONDS, Page, Seen

BACKOFF_STABLE_S = 10  # a child that ran for so long is started again at once (src/supervisor/backoff.h)
SHORT_MOST = 8  # short answers in a row
LONG_PROMPT = "The ship sails to the island and comes back to its harbour in the evening. " * 40
WISH = "Write a story of three hundred words about ships and islands, number"
GAP_AIM, PAGE_AIM = 2, 1  # seconds


async def nothing(d):
    """For comparison."""
    d.at = time.time()
    await d.pieces(1)


async def nothing_in_prompt(d):
    d.at = time.time()


async def killed_in_answer(d):
    await d.in_answer("engine", signal.SIGKILL)


async def stopped_in_answer(d):
    await d.in_answer("engine", signal.SIGSTOP)


async def killed_twice(d):
    """Again as soon as the answer goes on: now it is started after a pause."""
    await d.in_answer("engine", signal.SIGKILL)
    await d.more_text()
    d.signal("engine", signal.SIGKILL)


async def stopped_thrice(d):
    await d.in_answer("engine", signal.SIGSTOP)
    for _ in range(2):
        await d.more_text()
        d.signal("engine", signal.SIGSTOP)


async def killed_while_loading(d):
    await d.in_answer("engine", signal.SIGKILL)
    d.signal("engine", signal.SIGKILL, await d.next_engine())


async def stopped_while_loading(d):
    await d.in_answer("engine", signal.SIGKILL)
    d.signal("engine", signal.SIGSTOP, await d.next_engine())


async def killed_in_prompt(d):
    await d.in_prompt(signal.SIGKILL)


async def stopped_in_prompt(d):
    await d.in_prompt(signal.SIGSTOP)


async def server_killed(d):
    await d.in_answer("server", signal.SIGKILL)


async def server_stopped(d):
    await d.in_answer("server", signal.SIGSTOP)


async def supervisor_killed(d):
    await d.in_answer("supervisor", signal.SIGKILL)


KINDS = {  # name: (what happens, whose process is to have run for a while)
    "nothing": (nothing, None),
    "nothing_in_prompt": (nothing_in_prompt, None),
    "kill_engine": (killed_in_answer, "engine"),
    "kill_server": (server_killed, "server"),
    "stop_engine": (stopped_in_answer, "engine"),
    "stop_server": (server_stopped, "server"),
    "kill_engine_twice": (killed_twice, "engine"),
    "kill_supervisor": (supervisor_killed, None),
    "stop_engine_thrice": (stopped_thrice, "engine"),
    "kill_engine_in_prompt": (killed_in_prompt, "engine"),
    "stop_engine_in_prompt": (stopped_in_prompt, "engine"),
    "kill_engine_while_loading": (killed_while_loading, "engine"),
    "stop_engine_while_loading": (stopped_while_loading, "engine"),
}


class Lateness:
    """How much later than asked for this program was woken, at most, since reset()."""
    STEP = 0.01

    def __init__(self):
        self.most = 0.0

    async def watch(self):
        while True:
            before = time.monotonic()
            await asyncio.sleep(self.STEP)
            self.most = max(self.most, time.monotonic() - before - self.STEP)


class Witness:
    """What the program's threads did while an answer stood still: {process: {its threads' names, states and where they wait in the kernel: times seen}}"""
    AFTER, EVERY = 0.5, 0.1

    def __init__(self, parley):
        self.parley, self.seen, self.user = parley, {}, None

    async def watch(self):
        n, since = -1, time.monotonic()
        while True:
            await asyncio.sleep(self.EVERY)
            now = self.user.seen.gaps.n if self.user else -1
            if now != n:
                n, since = now, time.monotonic()
            elif time.monotonic() - since > self.AFTER:
                self.look()

    def look(self):
        for name, pid in self.parley.running().items():
            try:
                tasks = [f"/proc/{pid}/task/{tid}/" for tid in os.listdir(f"/proc/{pid}/task")]
                states = collections.Counter(" ".join((read(t + "comm"), read(t + "stat").rsplit(")", 1)[1].split()[0], read(t + "wchan"))) for t in tasks)
            except OSError:
                continue
            what = ", ".join(f"{state} ×{k}" for state, k in sorted(states.items()))
            self.seen.setdefault(name, collections.Counter())[what] += 1


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read().strip()


def age(pid):
    """Seconds that a process has run."""
    begun = int(read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - begun


class Death:
    """One answer of the user in which something of KINDS happens."""

    def __init__(self, parley, user, random):
        self.parley, self.user, self.random, self.pid = parley, user, random, None
        self.at = 0.0  # of the first signal, time of day

    def signal(self, name, signo, pid=None):
        self.pid = pid or self.parley.running()[name]
        self.at = self.at or time.time()
        os.kill(self.pid, signo)
        if name == "supervisor":
            self.parley.process.child.wait()

    async def pieces(self, n):
        """Waits for so many more pieces of text; False: the answer ended before."""
        n += self.user.seen.gaps.n
        while self.user.seen.gaps.n < n and not self.answer.done():
            await asyncio.sleep(0.005)
        return not self.answer.done()

    async def more_text(self):
        await self.pieces(self.random.randrange(3, 8))

    async def in_answer(self, name, signo):
        if await self.pieces(self.random.randrange(10, 40)):
            await asyncio.sleep(self.random.random() * 0.06)  # any moment of a step
            self.signal(name, signo)

    async def in_prompt(self, signo):
        await asyncio.sleep(0.05 + self.random.random() * 0.2)
        self.signal("engine", signo)

    async def next_engine(self):
        before = self.pid
        while self.parley.running().get("engine", before) == before:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05 + self.random.random() * 0.15)
        return self.parley.running()["engine"]

    async def go(self, kind):
        """What was waited for longest, None when the answer was too short to die in; a bad answer counts as one of ANSWER_SECONDS."""
        self.user.seen, self.user.conversation, self.at = Seen(), None, 0.0
        await self.user.begin()
        begun = time.monotonic()
        self.answer = asyncio.create_task(self.user.ask())
        await KINDS[kind][0](self)
        early = self.user.seen.gaps.n == 0
        while early and not self.answer.done() and not self.user.seen.first:
            await asyncio.sleep(0.005)
        await self.answer
        if not self.at:
            return None
        if not self.user.seen.good:
            print(f"{kind}: the answer was not whole:", self.user.seen.reasons)
            return ANSWER_SECONDS
        return self.user.seen.first - begun if early else self.user.seen.gaps.longest


def stages(text, at):
    """Seconds from an engine's death to: its end, the request for the rest, the successor's first and last moment of loading; how long parts of
    that took; and how many tokens it took over. text: the log since then."""
    found = {}
    for line in text.splitlines():
        try:
            e = json.loads(line)
            when = datetime.fromisoformat(e["ts"]).timestamp() - at
        except (ValueError, KeyError, TypeError):
            continue
        if e["event"] == "supervisor.child_ended" and e.get("child") == "engine":
            found.setdefault("ended", when)
        elif e["event"] == "turn.continued":
            found.setdefault("asked again", when)
        elif e["event"] == "engine.ready":
            found.setdefault("loads", when - (e["chat_ms"] + e["embedding_ms"] + e["rest_ms"]) / 1000)
            found.setdefault("loaded", when)
            for part in ("chat_ms", "embedding_ms", "rest_ms"):
                found.setdefault(part, e[part])
        elif e["event"] == "engine.restored":
            found.setdefault("tokens taken over", e["tokens"])
    return found


class Log:
    def __init__(self, path):
        self.f = open(path, encoding="utf-8", errors="replace")
        self.f.read()

    def new(self):
        return self.f.read()


async def settle(parley, name):
    """Until the process has run for so long that its end is no repeated one."""
    while name and age(parley.running().get(name) or os.getpid()) < BACKOFF_STABLE_S + 0.2:
        await asyncio.sleep(0.1)


async def measure(o, parley, random):
    """{kind: [(gap, outage of the page, this program's lateness, stages)]}"""
    keeper = asyncio.create_task(parley.keep_up(float("inf")))
    lateness, page, witness = Lateness(), Page(parley.port), Witness(parley)
    others = [asyncio.create_task(lateness.watch()), asyncio.create_task(page.live(float("inf"))), asyncio.create_task(witness.watch())]
    user, found, log = parley.users[0], {kind: [] for kind in o.kinds.split(",")}, Log(parley.log)
    for _ in range(o.times):
        for kind in found:
            user.wish = WISH
            for tries in range(SHORT_MOST + 1):
                await settle(parley, KINDS[kind][1])
                if tries == SHORT_MOST:
                    raise SystemExit("bench: the model's answers are too short to die in")
                log.new()
                lateness.most = page.longest = 0.0
                death = Death(parley, user, random)
                if "prompt" in kind:
                    user.wish = f"Of {random.random()}: {LONG_PROMPT} {WISH}"
                witness.seen, witness.user = {}, user
                gap = await death.go(kind)
                witness.user = None
                if gap is not None:
                    break
            found[kind].append((gap, page.longest, lateness.most, stages(log.new(), death.at)))
            if gap > GAP_AIM or page.longest > PAGE_AIM:
                print(f"{kind}: {gap:.2f} s, page away for {page.longest:.2f} s, this program late by {lateness.most:.2f} s; {found[kind][-1][3]}", flush=True)
                for name, what in witness.seen.items():
                    print(f"    {name}:", "; then ".join(f"{n} times {w}" for w, n in what.items()), flush=True)
    for task in (keeper, *others):
        task.cancel()
    return found


def tell(model, found):
    """Prints what was found and returns the rows of the result."""
    rows = []
    for kind, all_ in found.items():
        gaps, pages, late, parts = zip(*all_)
        print(f"{model}, {kind}: n {len(gaps)}, median {statistics.median(gaps):.2f} s, most {max(gaps):.2f}; page away for {max(pages):.2f} s at most; this program late by "
              f"{max(late):.2f} s at most")
        means = {name: statistics.median(p[name] for p in parts if name in p) for p in parts for name in p}
        if means:
            print("    medians:", ", ".join(f"{name} {value:.0f}" if "tokens" in name or "_ms" in name else f"{name} after {value:.2f} s" for name, value in means.items()))
        rows.append((f"{model}, {kind}", max(gaps), "s", GAP_AIM, "lower"))
    rows.append((f"{model}, longest outage of the page", max(x[1] for all_ in found.values() for x in all_), "s", PAGE_AIM, "lower"))
    return rows


def alone(o, start_own, random):
    """One model after the other. start_own(model): a Parley with that engine, or None."""
    rows = []
    for model in o.models.split(","):
        p = start_own(model)
        if not p:
            continue
        try:
            rows += tell(model, asyncio.run(measure(o, p, random)))
        finally:
            p.stop()
            p.unmount()
    print_results("chaos-alone", rows)
