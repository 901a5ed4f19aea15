#!/usr/bin/env python3
"""People chat while what serves them is killed: bench/chaos.py [--minutes 5] [--users 200] [--every 5] [--quick | --alone].

Two Parleys run: one before two mock model servers, whose every answer is known beforehand (load.h), and a small one with the engine and
SmolLM2, whose streamed answers must be what the store holds. Users ask, read the streamed answer and come back when it breaks
(lib/returning.py). Meanwhile, every five seconds on average, one thing of these goes wrong, each as often as the others: kill -9 and -STOP
of a server, the engine, a model server, a supervisor (started again at once, as systemd would); connections cut, the database locked by
another process, the disk filled (where the data directory can be a small tmpfs of our own), the time of day stepped by up to two hours
(for our processes alone: load/clock.c).

An answer counts as good only when each byte of it is right. At the end every acknowledged message and every whole answer is looked for in
the store, and what an idle server still holds is compared with what it held before.

--alone: one reader of each model's answers on an otherwise idle machine, and how long an answer stands still for each kind of death
(lib/deaths.py)."""

import argparse
import asyncio
import collections
import hashlib
import mmap
import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import time
import urllib.request

from lib.deaths import KINDS, alone
from lib.load import Mock, SeededParley, print_results, program, work_folder
from lib.returning import Page, Seen, User
from lib.servers import Process, api, http_status, wait_until

SMALL_MODEL = "smollm2-135m-instruct"
MODELS = "qwen2.5-coder-0.5b-instruct," + SMALL_MODEL  # of --alone: the default, and the smallest
STEP_MOST_S = 7200
IDLE_GAUGES = ("parley_turns_running", "parley_streams_open", "parley_upstream_server_in_flight", "parley_engine_sequences_running",
               "parley_engine_requests_queued")


class Clock:
    """The time of day of the processes that are started with env."""

    def __init__(self, work):
        path = os.path.join(work, "clock")
        with open(path, "wb") as f:
            f.write(bytes(8))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 8)
        self.env = {**os.environ, "LD_PRELOAD": program("load_clock.so"), "PARLEY_CLOCK_FILE": path}

    def step(self, seconds):
        self.map[:] = struct.pack("=q", seconds)


class HardParley(SeededParley):
    """Started again by us when its supervisor is killed; on a small tmpfs when we may mount one."""

    def __init__(self, work, name, users, upstream, clock, *options):
        data, self.clock = os.path.join(work, name), clock
        os.makedirs(data)
        self.small_disk = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512m", "parley-chaos", data],
                                         stderr=subprocess.DEVNULL, check=False).returncode == 0
        try:
            super().__init__(work, name, users, upstream, *options)
        except BaseException:
            self.unmount()
            raise
        self.cookies = open(self.sessions, encoding="ascii").read().split()
        self.seen, self.page = Seen(), Page(self.port)
        self.users = []
        self.at_first = self.held()

    def launch(self):
        self.process = Process(self.argv, self.log, self.clock.env)

    def ours(self):
        """The processes that have this data directory, whoever started them: {pid: name}."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                argv = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
                env = open(f"/proc/{pid}/environ", "rb").read().split(b"\0")
            except OSError:
                continue
            if self.data.encode() in argv or f"PARLEY_DATA_DIR={self.data}".encode() in env:
                found[int(pid)] = argv[1].decode() if len(argv) > 1 else "?"
        return found

    def signal(self, name, signo):
        """Whether there was such a process."""
        hit = False
        for pid, found in self.ours().items():
            if found == name:
                try:
                    os.kill(pid, signo)
                    hit = True
                except ProcessLookupError:
                    pass
        return hit

    async def hit(self, name, signo, seconds=20):
        """The same, once there is one."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.signal(name, signo):
                return True
            await asyncio.sleep(0.1)
        return False

    def kill_supervisor(self):
        """Whether there was one: another fault may just have ended it."""
        try:
            os.kill(self.process.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.process.child.wait()
        return True

    async def keep_up(self, until):
        """Starts it again whenever it has ended."""
        while time.monotonic() < until:
            if self.process.child.poll() is not None:
                self.launch()
            await asyncio.sleep(0.05)

    def gauges(self):
        """What of IDLE_GAUGES is not 0."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as r:
            lines = [line.rsplit(" ", 1) for line in r.read().decode().splitlines() if line.startswith(IDLE_GAUGES)]
        return {name: float(value) for name, value in lines if float(value)}

    def connections(self):
        """Of clients, that the server still holds."""
        port = f":{self.port:04X}"
        rows = [line.split() for line in open("/proc/net/tcp", encoding="ascii")][1:]
        return sum(row[1].endswith(port) and row[3] in ("01", "08") for row in rows)  # established, close-wait

    def held(self):
        """What an idle Parley holds: files but for sockets, of each of its processes; processes. After a check of the database: SQLite keeps that connection's file for
        the next one, so that there is one more from the first check on."""
        cookie = "parley_session=" + self.cookies[0]
        api(self.port, "POST", "/api/v1/store/check", {}, cookie)
        wait_until(lambda: not api(self.port, "GET", "/api/v1/store", cookie=cookie)[0]["running"], 60, "the check of the database")
        files = collections.Counter()
        for name, pid in self.running().items():
            for fd in os.listdir(f"/proc/{pid}/fd"):
                try:
                    link = os.readlink(f"/proc/{pid}/fd/{fd}")
                except OSError:
                    continue
                if not link.startswith("socket:"):
                    files[name + " " + link.split(":[")[0].split("-answers-")[0]] += 1
        return {"files": files, "processes": len(self.ours())}

    def left_in_memory(self):
        """Files in /dev/shm that an ended Parley has left."""
        name = f"parley-{os.geteuid()}-" + hashlib.sha256(os.path.realpath(self.data).encode()).hexdigest()[:16]
        return [f for f in os.listdir("/dev/shm") if f.startswith(name)]

    def leaks(self):
        """Slots and connections, files, processes beyond what there was at first, once it has come to rest."""
        slots = 0
        try:
            wait_until(lambda: not self.gauges() and not self.connections(), 20, "rest")
        except SystemExit:
            slots = sum(self.gauges().values()) + self.connections()
            print(f"not at rest: {self.gauges()}, {self.connections()} connections")
        now = self.held()
        more = now["files"] - self.at_first["files"]  # what of each kind there is more of
        if more:
            print("open beyond what was open at first:", dict(more))
        return {"slots": slots, "files": sum(more.values()),  # held() asks, too: its own connections may not be closed yet
                "processes": max(0, now["processes"] - self.at_first["processes"])}

    def idle_cpu(self, seconds=3):
        self.pids = self.running()
        before = self.cpu_seconds()
        time.sleep(seconds)
        return 100 * (self.cpu_seconds() - before) / seconds

    def unmount(self):
        if self.small_disk:
            subprocess.run(["umount", "--lazy", self.data], check=False)


class Chaos:
    def __init__(self, o, parleys, mocks, clock, own=None):
        self.o, self.parleys, self.mocks, self.clock = o, parleys, mocks, clock
        self.main, self.own = parleys[0], own
        self.random, self.done, self.missed, self.when = random.Random(o.seed), {}, {}, []
        self.acts = [self.kill_server, self.stop_server, self.kill_upstream, self.stop_upstream, self.kill_supervisor, self.stop_supervisor,
                     self.lock_database, self.cut_connections, self.step_clock]
        if self.own:
            self.acts += [self.kill_engine, self.stop_engine]
        if self.main.small_disk:
            self.acts.append(self.fill_disk)

    def one(self):
        return self.random.choice(self.parleys)

    async def kill_server(self):
        return await self.one().hit("server", signal.SIGKILL)

    async def stop_server(self):
        return await self.one().hit("server", signal.SIGSTOP)  # the supervisor's business

    async def kill_engine(self):
        return await self.own.hit("engine", signal.SIGKILL)

    async def stop_engine(self):
        return await self.own.hit("engine", signal.SIGSTOP)

    async def kill_upstream(self):
        m = self.random.choice(self.mocks)
        m.process.stop_hard()
        await asyncio.sleep(0.5)
        m.start()

    async def stop_upstream(self):
        m = self.random.choice(self.mocks)
        os.kill(m.process.child.pid, signal.SIGSTOP)
        await asyncio.sleep(1)
        os.kill(m.process.child.pid, signal.SIGCONT)

    async def kill_supervisor(self):
        return self.one().kill_supervisor()

    async def stop_supervisor(self):
        pid = self.one().process.child.pid
        try:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(1)
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:  # another fault has ended it
            return False
        return True

    async def cut_connections(self):
        for p in self.parleys:
            for user in p.users:
                if self.random.random() < 0.5:
                    user.cut_connection()

    async def step_clock(self):
        self.clock.step(self.random.randrange(-STEP_MOST_S, STEP_MOST_S))

    async def lock_database(self):
        """As soon as the server's own writes leave room for it."""
        db = sqlite3.connect(self.one().database, timeout=0, isolation_level=None)
        end = time.monotonic() + 20
        try:
            while time.monotonic() < end:
                try:
                    db.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    await asyncio.sleep(0.002)
                    continue
                await asyncio.sleep(1)
                db.execute("ROLLBACK")
                return True
            return False
        finally:
            db.close()

    async def fill_disk(self):
        path = os.path.join(self.main.data, "filler")
        await asyncio.get_running_loop().run_in_executor(None, fill, path)
        await asyncio.sleep(1)
        os.unlink(path)

    async def live(self, until):
        """Each act once in every round, in an order of its own, so that none is left out of a short run."""
        due, bag = time.monotonic(), []
        while True:
            due += self.random.expovariate(1 / self.o.every)
            if due >= until:
                return
            await asyncio.sleep(max(0, due - time.monotonic()))
            bag = bag or self.random.sample(self.acts, len(self.acts))
            act = bag.pop()
            self.when.append((time.monotonic(), act.__name__))
            counts = self.missed if await act() is False else self.done
            counts[act.__name__] = counts.get(act.__name__, 0) + 1


def fill(path):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for size in (1 << 20, 4096):
            while True:
                try:
                    os.write(fd, bytes(size))
                except OSError:
                    break
    finally:
        os.close(fd)


def compare(parley):
    """(acknowledged messages lost; messages, answers and conversations doubled; answers unfinished, answers that are not as they were streamed,
    is the database sound)."""
    db = sqlite3.connect(f"file:{parley.database}?mode=ro", uri=True)
    lost = differ = 0
    for message_id, question in parley.seen.acknowledged.items():
        row = db.execute("SELECT q.content, a.content FROM messages a JOIN messages q ON q.message_id = a.parent_id WHERE a.message_id = ?",
                         (message_id,)).fetchone()
        lost += row is None or row[0] != question
        differ += row is not None and parley.seen.texts.get(message_id, row[1]) != row[1]
    doubled = db.execute("SELECT count(*) - count(DISTINCT content) FROM messages WHERE sender = 'user'").fetchone()[0]
    doubled += db.execute("SELECT count(*) - count(DISTINCT parent_id) FROM messages WHERE sender = 'assistant'").fetchone()[0]
    doubled += max(0, db.execute("SELECT count(*) FROM conversations").fetchone()[0] - parley.seen.begun)
    left = db.execute("SELECT count(*) FROM messages WHERE status = 'streaming'").fetchone()[0]
    sound = db.execute("PRAGMA integrity_check").fetchone()[0]
    db.close()
    return lost, doubled, left, differ, sound == "ok"


async def play(o, parleys, chaos):
    until = time.monotonic() + o.minutes * 60
    tasks = [chaos.live(until - 10)]
    for p in parleys:
        tasks += [p.page.live(until), p.keep_up(until + 20), *(u.live(until) for u in p.users)]
    await asyncio.gather(*tasks)


def start_own(o, work, clock, model, *options):
    """The Parley with an engine, or None."""
    if subprocess.run([program("parley"), "model", "verify", model], capture_output=True, check=False).returncode:
        print(f"{model} is not there (build/parley model pull {model}): it is left out")
        return None
    p = HardParley(work, "engine-" + model, o.engine_users, None, clock, "--model", model, "--watchdog-seconds", str(o.watchdog), *options)
    cookie = "parley_session=" + p.cookies[0]
    for role in api(p.port, "GET", "/api/v1/roles", cookie=cookie)[0]["data"]:
        api(p.port, "PATCH", f"/api/v1/roles/{role['role_id']}", {"max_tokens": o.engine_tokens, "temperature": 0}, cookie)
    p.users = [User(o, p.port, i, p.cookies[i], p.seen, known=False) for i in range(o.engine_users)]
    return p


def end(parleys):
    """Leaks and idleness of what runs, then its end and what remains of it."""
    leaks, cpu = {"slots": 0, "files": 0, "processes": 0}, 0.0
    for p in parleys:
        try:
            wait_until(lambda p=p: http_status(p.port, "/readyz") == 200, 30, "Parley after all that")
        except SystemExit:
            print(open(p.log, encoding="utf-8", errors="replace").read()[-4000:])
            raise
        for what, n in p.leaks().items():
            leaks[what] += n
        cpu = max(cpu, p.idle_cpu())
        p.stop()
        leaks["processes"] += len(p.ours())
        left = p.left_in_memory()
        if left:
            print("left in /dev/shm:", left)
        leaks["files"] += len(left)
    return leaks, cpu


def tell_gaps(name, gaps, chaos):
    """The longest ones, each with the faults within it and shortly before; then the longest that each kind of fault brought about: the first in
    it, unless others came after, which are then named with it."""
    for gap, end in sorted(gaps.long, reverse=True)[:3]:
        near = [f"{act} {end - gap - at:+.1f} s before it" for at, act in chaos.when if end - gap - 3 < at < end]
        print(f"{name}: a gap of {gap:.2f} s; {', '.join(near) or 'no fault near it'}")
    worst = {}
    for gap, end in gaps.long:
        acts = " + ".join(act for at, act in chaos.when if end - gap <= at + 0.1 and at < end) or "none"
        worst[acts] = max(worst.get(acts, 0), gap)
    for _, act in chaos.when:
        worst.setdefault(act, 0)
    print(f"{name}: longest gap by fault,", ", ".join(f"{act} {gap:.2f} s" if gap else f"{act} < {gaps.LONG} s" for act, gap in sorted(worst.items())))


def report(o, parleys, chaos, leaks, cpu, compared):
    lost, doubled, left, differ = (sum(c[i] for c in compared) for i in range(4))
    good, bad = sum(p.seen.good for p in parleys), sum(p.seen.bad for p in parleys)
    print(f"faults in {o.minutes:g} minutes:", ", ".join(f"{k} {v}" for k, v in sorted(chaos.done.items())))
    if chaos.missed:
        print("faults that met nothing to harm:", chaos.missed)
    if not chaos.main.small_disk:
        print("the disk was NOT filled: no tmpfs may be mounted here")
    for name, p in zip(("mock model servers", "own engine"), parleys):
        print(f"{name}: {p.seen.good} answers good, {p.seen.bad} not {p.seen.reasons or ''}; streams taken up again {p.seen.reconnected}, questions "
              f"sent again {p.seen.resent}; page asked {p.page.asked} times, {p.page.failed} without an answer")
    if not all(c[4] for c in compared):
        print("a database is DAMAGED")
    for name, p in zip(("mock model servers", "own engine"), parleys):
        tell_gaps(name, p.seen.gaps, chaos)
    rows = [("answered well", 100 * good / max(good + bad, 1), "%", 99.9, "higher"),
            ("longest outage of the page", max(p.page.longest for p in parleys), "s", 1, "lower"),
            ("longest gap within an answer", parleys[0].seen.gaps.longest, "s", 2, "lower"),
            ("gap within an answer, p99.9", parleys[0].seen.gaps.quantile(.999), "s", None, "lower"),
            ("longest wait for a first word", max(p.seen.first_word for p in parleys), "s", None, "lower"),
            ("readers whose words were replaced", sum(p.seen.replaced for p in parleys), "", None, "lower")]
    if len(parleys) > 1:
        rows += [("longest gap within an answer, own engine", parleys[1].seen.gaps.longest, "s", 2, "lower")]
    print_results("chaos", rows + [
        ("acknowledged messages lost", lost, "messages", 0, "lower"),
        ("messages doubled", doubled, "messages", 0, "lower"),
        ("answers left unfinished", left, "answers", 0, "lower"),
        ("answers stored otherwise than streamed", differ, "answers", 0, "lower"),
        ("slots and connections leaked", leaks["slots"], "", 0, "lower"),
        ("files leaked", leaks["files"], "files", 0, "lower"),
        ("processes leaked", leaks["processes"], "processes", 0, "lower"),
        ("databases damaged", sum(not c[4] for c in compared), "", 0, "lower"),
        ("CPU of the idle server", cpu, "% of a core", None, "lower")])


def options():
    p = argparse.ArgumentParser()
    p.add_argument("--minutes", type=float, default=5)
    p.add_argument("--users", type=int, default=200)
    p.add_argument("--every", type=float, default=5, help="seconds between two faults, on average")
    p.add_argument("--think", type=float, default=8, help="seconds between two questions of a user, on average")
    p.add_argument("--tokens", type=int, default=60)
    p.add_argument("--questions", type=int, default=20, help="of one conversation; then a user begins another")
    p.add_argument("--engine-users", type=int, default=2, help="users of the Parley with an engine; 0 leaves it out")
    p.add_argument("--engine-tokens", type=int, default=40)
    p.add_argument("--cut", type=float, default=0.05, help="share of streams that their reader cuts")
    p.add_argument("--watchdog", type=int, default=1, help="watchdog_seconds of the servers")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--quick", action="store_true", help="one minute, 50 users")
    p.add_argument("--alone", action="store_true", help="one reader, each kind of death by itself")
    p.add_argument("--kinds", default=",".join(KINDS), help="of --alone, with commas between")
    p.add_argument("--models", default=MODELS, help="of --alone, with commas between")
    p.add_argument("--times", type=int, default=3, help="of --alone: each death so often")
    o = p.parse_args()
    if o.quick:
        o.minutes, o.users = 1, 50
    return o


def main():
    o = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is stopped, also then
    if o.alone:
        o.engine_users, o.engine_tokens, o.cut = 1, 120, 0
        with work_folder() as work:
            clock = Clock(work)
            alone(o, lambda model: start_own(o, work, clock, model, "--log-level", "info"), random.Random(o.seed))
        return
    with work_folder() as work:
        clock, parleys = Clock(work), []
        seconds = int(o.minutes * 60) + 300
        mocks = [Mock(work, seconds, first_ms=100, rate=30, tokens=o.tokens) for _ in range(2)]
        try:
            main_one = HardParley(work, "chaos", o.users, ",".join(m.url for m in mocks), clock, "--watchdog-seconds", str(o.watchdog))
            parleys.append(main_one)
            main_one.users = [User(o, main_one.port, i, main_one.cookies[i], main_one.seen) for i in range(o.users)]
            own = start_own(o, work, clock, SMALL_MODEL, "--embedding-model", "none") if o.engine_users else None
            if own:
                parleys.append(own)
            chaos = Chaos(o, parleys, mocks, clock, own)
            asyncio.run(play(o, parleys, chaos))
            leaks, cpu = end(parleys)
            compared = [compare(p) for p in parleys]
        finally:
            for p in parleys:
                p.stop()
                p.unmount()
            for m in mocks:
                m.stop()
    report(o, parleys, chaos, leaks, cpu, compared)


if __name__ == "__main__":
    main()
