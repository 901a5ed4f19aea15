#!/usr/bin/env python3
"""People chat while what serves them is killed: bench/chaos.py [--minutes 5] [--users 200] [--every 5] [--quick].

Users ask, read the streamed answer and, when the stream breaks, come back to it (Last-Event-ID) or send the question again with the same
Idempotency-Key, as the page does. Meanwhile, every few seconds: kill -9 and -STOP of the server, kill -9 and -STOP of a model server,
kill -9 of the supervisor (started again at once, as systemd would), the database locked by another process, the disk filled (where the data
directory can be a small tmpfs of our own), and connections cut by the users themselves. The clock is not stepped: it is not ours alone.

Every answer is known beforehand (load.h), so that an answer counts as good only when each byte of it is right. At the end every
acknowledged message is looked for in the store."""

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import time

from lib.load import Mock, SeededParley, print_results, work_folder
from lib.servers import http_status, wait_until

MASK = (1 << 64) - 1
WORDS = ("riverstonetablecloudbreadlightplanthousegreenpapermusicoceanchairnorthtrainfield"
         "applebrownsheepwheelgrasshoneylemonmapleolivepearlpianoquietrobinsugartulipwaves"
         "amberbeachcandydaisyeaglefreshgianthappyivoryjellykoalallamamangonobleonionpasta"
         "quiltradiosaladtigerurbanvividwateryouthzebraacornberrycoraldoughearlyflutelilac")
ANSWER_SECONDS = 60  # an answer that is not whole by then was not answered well


def answer_to(question, tokens):
    """As load.h's answer_token()."""
    h = 0xcbf29ce484222325
    for byte in question.encode():
        h = ((h ^ byte) * 0x100000001b3) & MASK
    text = []
    for i in range(tokens):
        x = (h + i * 0x9e3779b97f4a7c15) & MASK
        x ^= x >> 30
        x = (x * 0xbf58476d1ce4e5b9) & MASK
        x ^= x >> 27
        x = (x * 0x94d049bb133111eb) & MASK
        x ^= x >> 31
        text.append(" " + WORDS[(x & 63) * 5:(x & 63) * 5 + 5])
    return "".join(text)


class Broken(Exception):
    """The connection went away, or the server asks to come back later."""


class Seen:
    def __init__(self):
        self.good = self.bad = self.reconnected = self.resent = 0
        self.acknowledged = {}  # message id of the answer → question
        self.gaps, self.reasons = [], {}

    def failed(self, why):
        self.bad += 1
        self.reasons[why] = self.reasons.get(why, 0) + 1


class User:
    def __init__(self, o, port, number, cookie, seen):
        self.o, self.port, self.number, self.cookie, self.seen = o, port, number, cookie, seen
        self.random = random.Random(number)
        self.conversation, self.asked = None, 0

    async def request(self, method, path, body=None, headers=()):
        """Sends one request on a connection of its own; returns (status, reader, writer)."""
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20), 10)
        except (OSError, asyncio.TimeoutError) as e:
            raise Broken from e
        data = b"" if body is None else json.dumps(body).encode()
        head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Cookie: parley_session={self.cookie}", "Connection: close",
                f"Content-Length: {len(data)}", "Content-Type: application/json", *headers]
        try:
            writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + data)
            line = await asyncio.wait_for(reader.readline(), 15)
            if not line:
                raise Broken
            status = int(line.split()[1])
            while (await asyncio.wait_for(reader.readline(), 15)).strip():
                pass
        except (OSError, asyncio.TimeoutError, IndexError, ValueError) as e:
            writer.close()
            raise Broken from e
        except Broken:
            writer.close()
            raise
        return status, reader, writer

    async def begin(self):
        key = f"c-{self.number}-{self.random.random()}"
        while self.conversation is None:
            try:
                status, reader, writer = await self.request("POST", "/api/v1/conversations", {}, ["Accept: application/json", f"Idempotency-Key: {key}"])
                text = await reader.read()
                writer.close()
                if status == 201:
                    self.conversation = json.loads(text[text.index(b"{"):text.rindex(b"}") + 1])["conversation_id"]
                    return
            except (Broken, OSError, ValueError):
                pass
            await asyncio.sleep(0.2)

    async def read(self, reader, state):
        """Reads events into state until the answer ends; Broken when the stream does before it."""
        event, ident = None, None
        cut = self.random.random() < self.o.cut and self.random.randrange(self.o.tokens)
        n = 0
        while True:
            try:
                line = (await asyncio.wait_for(reader.readline(), 25)).decode().strip()
                if reader.at_eof() and not line:
                    raise Broken
            except (OSError, asyncio.TimeoutError, ValueError) as e:
                raise Broken from e
            if line.startswith("event: "):
                event = line[7:]
            elif line.startswith("id: "):
                ident = int(line[4:])
            elif line.startswith("data: "):
                data = json.loads(line[6:])
                if ident is not None:
                    state["last"] = ident
                if event == "created":
                    state["id"] = data["message"]["message_id"]
                    self.seen.acknowledged[state["id"]] = state["question"]
                elif event in ("token", "reset"):
                    now = time.monotonic()
                    if state["at"]:
                        self.seen.gaps.append(now - state["at"])
                    state["at"] = now
                    state["text"] = data["text"] if event == "reset" else state["text"] + data["text"]
                elif event == "done":
                    state["done"] = True
                    return
                elif event == "error":
                    state["error"] = data["error"].get("code") or "error"
                    return
                n += 1
                if cut and n >= cut:
                    raise Broken

    async def ask(self):
        question = f"Question {self.asked} of user {self.number}, drawn {self.random.randrange(10**9)}"
        self.asked += 1
        expected, key = answer_to(question, self.o.tokens), f"m-{self.number}-{self.asked}-{self.random.random()}"
        state = {"question": question, "id": None, "last": 0, "text": "", "at": 0, "done": False, "error": None}
        end = time.monotonic() + ANSWER_SECONDS
        tries = 0
        while time.monotonic() < end and not state["done"]:
            writer = None
            try:
                if state["id"] is None:
                    status, reader, writer = await self.request("POST", f"/api/v1/conversations/{self.conversation}/messages", {"content": question},
                                                                ["Accept: text/event-stream", f"Idempotency-Key: {key}"])
                    self.seen.resent += tries > 0
                else:
                    status, reader, writer = await self.request("GET", f"/api/v1/messages/{state['id']}/events", None,
                                                                ["Accept: text/event-stream", f"Last-Event-ID: {state['last']}"])
                    self.seen.reconnected += 1
                tries += 1
                if status >= 500 or status in (409, 429):
                    raise Broken
                if status >= 300:
                    state["error"] = f"HTTP {status}"
                    break
                await self.read(reader, state)
                if state["error"]:
                    break
            except (Broken, OSError):
                await asyncio.sleep(0.1 + 0.2 * self.random.random())
            finally:
                if writer:
                    writer.close()
        if state["done"] and state["text"] == expected:
            self.seen.good += 1
        else:
            if state["done"] and not state["error"]:
                same = len(os.path.commonprefix([state["text"], expected]))
                print(f"text differs from byte {same} on: {len(state['text'])} bytes in place of {len(expected)}; "
                      f"{tries} requests: {state['text'][same:same + 160]!r}", flush=True)
            self.seen.failed(state["error"] or ("text differs" if state["done"] else "not whole in time"))

    async def live(self, until):
        await asyncio.sleep(self.random.random() * self.o.think)
        await self.begin()
        while time.monotonic() < until:
            await self.ask()
            await asyncio.sleep(self.random.expovariate(1 / self.o.think))


class Page:
    """Asks for the page's status ten times a second; the longest time without an answer is the outage."""

    def __init__(self, port):
        self.port, self.longest, self.asked, self.failed = port, 0.0, 0, 0

    async def once(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return (await reader.readline()).startswith(b"HTTP/1.1 200")
        finally:
            writer.close()

    async def live(self, until):
        good = time.monotonic()
        while time.monotonic() < until:
            self.asked += 1
            try:
                ok = await asyncio.wait_for(self.once(), 10)
            except (OSError, asyncio.TimeoutError):
                ok = False
            now = time.monotonic()
            self.failed += not ok
            if ok:
                self.longest = max(self.longest, now - good)
                good = now
            await asyncio.sleep(0.1)


class Chaos:
    def __init__(self, o, work, parley, mocks):
        self.o, self.work, self.parley, self.mocks = o, work, parley, mocks
        self.random, self.done = random.Random(o.seed), {}
        self.acts = [self.kill_server, self.stop_server, self.kill_mock, self.stop_mock, self.kill_supervisor, self.lock_database]
        if parley.small_disk:
            self.acts.append(self.fill_disk)

    async def kill_server(self):
        self.parley.signal("server", signal.SIGKILL)

    async def stop_server(self):
        self.parley.signal("server", signal.SIGSTOP)  # the watchdog's business

    async def kill_mock(self):
        m = self.random.choice(self.mocks)
        m.process.stop_hard()
        await asyncio.sleep(0.5)
        m.start()

    async def stop_mock(self):
        m = self.random.choice(self.mocks)
        os.kill(m.process.child.pid, signal.SIGSTOP)
        await asyncio.sleep(1)
        os.kill(m.process.child.pid, signal.SIGCONT)

    async def kill_supervisor(self):
        self.parley.kill_supervisor()

    async def lock_database(self):
        db = sqlite3.connect(self.parley.database, timeout=0, isolation_level=None)
        try:
            db.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(1)
            db.execute("ROLLBACK")
        except sqlite3.OperationalError:
            pass
        finally:
            db.close()

    async def fill_disk(self):
        path = os.path.join(self.parley.data, "filler")
        try:
            with open(path, "wb") as f:
                while True:
                    f.write(b"\0" * (1 << 20))
        except OSError:
            pass
        await asyncio.sleep(1)
        os.unlink(path)

    async def live(self, until):
        await asyncio.sleep(self.o.every)
        while time.monotonic() < until:
            act = self.random.choice(self.acts)
            self.done[act.__name__] = self.done.get(act.__name__, 0) + 1
            await act()
            await asyncio.sleep(self.random.expovariate(1 / self.o.every))


class HardParley(SeededParley):
    """Started again by us when its supervisor is killed; on a small tmpfs when we may mount one."""

    def __init__(self, work, name, users, *options):
        data = os.path.join(work, name)
        os.makedirs(data)
        self.small_disk = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512m", "parley-chaos", data],
                                         stderr=subprocess.DEVNULL, check=False).returncode == 0
        super().__init__(work, name, users, *options)

    def signal(self, name, signo):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                argv = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
                if os.getsid(int(pid)) == self.process.child.pid and len(argv) > 1 and argv[1] == name.encode():
                    os.kill(int(pid), signo)
            except (OSError, ProcessLookupError):
                continue

    def kill_supervisor(self):
        os.kill(self.process.child.pid, signal.SIGKILL)
        self.process.child.wait()

    async def keep_up(self, until):
        """Starts it again whenever it has ended."""
        while time.monotonic() < until:
            if self.process.child.poll() is not None:
                self.launch()
            await asyncio.sleep(0.05)

    def unmount(self):
        if self.small_disk:
            subprocess.run(["umount", self.data], check=False)


def compare(database, seen):
    db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    lost = 0
    for message_id, question in seen.acknowledged.items():
        row = db.execute("SELECT q.content FROM messages a JOIN messages q ON q.message_id = a.parent_id WHERE a.message_id = ?",
                         (message_id,)).fetchone()
        lost += row is None or row[0] != question
    doubled = db.execute("SELECT count(*) - count(DISTINCT content) FROM messages WHERE sender = 'user'").fetchone()[0]
    left = db.execute("SELECT count(*) FROM messages WHERE status = 'streaming'").fetchone()[0]
    sound = db.execute("PRAGMA integrity_check").fetchone()[0]
    db.close()
    return lost, doubled, left, sound


async def play(o, parley, chaos, seen, page):
    cookies = open(parley.sessions).read().split()
    until = time.monotonic() + o.minutes * 60
    users = [User(o, parley.port, i, cookies[i], seen) for i in range(o.users)]
    await asyncio.gather(page.live(until), parley.keep_up(until + 20), chaos.live(until - 10), *(u.live(until) for u in users))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--minutes", type=float, default=5)
    p.add_argument("--users", type=int, default=200)
    p.add_argument("--every", type=float, default=5, help="seconds between two faults, on average")
    p.add_argument("--think", type=float, default=8, help="seconds between two questions of a user, on average")
    p.add_argument("--tokens", type=int, default=60)
    p.add_argument("--cut", type=float, default=0.05, help="share of streams that their reader cuts")
    p.add_argument("--watchdog", type=int, default=1, help="watchdog_seconds of the server")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--quick", action="store_true", help="one minute, 50 users")
    o = p.parse_args()
    if o.quick:
        o.minutes, o.users = 1, 50
    with work_folder() as work:
        seconds = int(o.minutes * 60) + 300
        mocks = [Mock(work, seconds, first_ms=100, rate=30, tokens=o.tokens) for _ in range(1)]
        urls = mocks[0].url
        parley = HardParley(work, "chaos", o.users, urls, "--watchdog-seconds", str(o.watchdog))
        seen, page = Seen(), Page(parley.port)
        chaos = Chaos(o, work, parley, mocks)
        try:
            asyncio.run(play(o, parley, chaos, seen, page))
            try:
                wait_until(lambda: http_status(parley.port, "/readyz") == 200, 30, "Parley after all that")
            except SystemExit:
                print(open(parley.log, encoding="utf-8", errors="replace").read()[-4000:])
                raise
            files = len(os.listdir(f"/proc/{parley.running()['server']}/fd"))
        finally:
            parley.stop()
            for m in mocks:
                m.stop()
            try:
                compared = compare(parley.database, seen)
            finally:
                parley.unmount()
        lost, doubled, left, sound = compared
    print("faults:", ", ".join(f"{k} {v}" for k, v in sorted(chaos.done.items())))
    print(f"answers: {seen.good} good, {seen.bad} not {seen.reasons or ''}; streams taken up again {seen.reconnected}, questions sent again {seen.resent}")
    print(f"page: asked {page.asked} times, {page.failed} without an answer; database: {sound}; files open at the end {files}")
    gaps = sorted(seen.gaps)
    print_results("chaos", [
        ("answered well", 100 * seen.good / max(seen.good + seen.bad, 1), "%", 99.9, "higher"),
        ("longest outage of the page", page.longest, "s", 1, "lower"),
        ("longest gap within an answer", gaps[-1] if gaps else 0, "s", 2, "lower"),
        ("gap within an answer, p99.9", gaps[int(len(gaps) * .999)] if gaps else 0, "s", None, "lower"),
        ("acknowledged messages lost", lost, "messages", 0, "lower"),
        ("messages doubled", doubled, "messages", 0, "lower"),
        ("answers left unfinished", left, "answers", 0, "lower")])


if __name__ == "__main__":
    main()
