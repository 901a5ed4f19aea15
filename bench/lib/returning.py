"""People of bench/chaos.py: they ask, read the streamed answer and, when the stream breaks, come back to it (Last-Event-ID) or send the
question again with the same Idempotency-Key, as the page does. Standard library only."""

import asyncio
import json
import os
import random
import time

MASK = (1 << 64) - 1
WORDS = ("rivertablecloudbreadlighthousepapermusicchairnorthtrainfieldapplebrownwheellemon"
         "maplepianoquietroundspoonwavesbeachdaisyaislegianthappybagelmangonobleonionpasta"
         "quiltcellosaladtowelwaterberryearlyflutelilacclockshelfbenchplateshirtporchnovel"
         "pagesstorychartrulervalvehingepanelcablemotorlinenglasstilesfloorstairlobbyapron")
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


class Gaps:
    """Between two pieces of an answer: how many there were of each length, and the long ones with the time of their end."""
    STEP, LONG, MOST = 0.01, 0.5, 20000  # seconds; seconds; as many long ones

    def __init__(self):
        self.n, self.counts, self.long, self.longest = 0, {}, [], 0.0

    def add(self, gap, end):
        step = int(gap / self.STEP)
        self.n += 1
        self.counts[step] = self.counts.get(step, 0) + 1
        self.longest = max(self.longest, gap)
        if gap >= self.LONG and len(self.long) < self.MOST:
            self.long.append((gap, end))

    def quantile(self, share):
        """To STEP exactly; what is longer counts as its upper end."""
        left = share * self.n
        for step in sorted(self.counts):
            left -= self.counts[step]
            if left < 0:
                return min((step + 1) * self.STEP, self.longest)
        return self.longest


class Seen:
    """What the people of one Parley saw."""

    def __init__(self):
        self.good = self.bad = self.reconnected = self.resent = self.begun = self.replaced = 0
        self.first_word = 0.0  # the longest wait from a question to its answer's first piece
        self.acknowledged = {}  # message id of the answer → question
        self.texts = {}  # … of those that were whole → the text that was streamed
        self.gaps, self.reasons = Gaps(), {}
        self.first = 0.0  # when the first text came

    def failed(self, why):
        self.bad += 1
        self.reasons[why] = self.reasons.get(why, 0) + 1


class User:
    """known: the answer to a question is answer_to()'s; otherwise what was streamed must be what the store holds."""

    def __init__(self, o, port, number, cookie, seen, known=True):
        self.o, self.port, self.number, self.cookie, self.seen, self.known = o, port, number, cookie, seen, known
        self.random = random.Random(number)
        self.wish, self.conversation, self.asked, self.writer = "Question", None, 0, None

    def cut_connection(self):
        """What it is reading breaks off, as when a network goes away."""
        if self.writer:
            self.writer.transport.abort()

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
        """A new conversation; none in time counts as an answer that was not given."""
        key, end = f"c-{self.number}-{self.random.random()}", time.monotonic() + ANSWER_SECONDS
        self.seen.begun += 1
        while self.conversation is None and time.monotonic() < end:
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
        self.seen.failed("no conversation")

    async def read(self, reader, state):
        """Reads events into state until the answer ends; Broken when the stream does before it."""
        event, ident = None, None
        cut = self.random.random() < self.o.cut and self.random.randrange(self.o.tokens)
        n = 0
        while True:
            try:
                raw = await asyncio.wait_for(reader.readline(), 25)
                if not raw.endswith(b"\n"):  # the end, or a line that broke off
                    raise Broken
                line = raw.decode().strip()
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
                        self.seen.gaps.add(now - state["at"], now)
                    else:
                        self.seen.first_word = max(self.seen.first_word, now - state["since"])
                    state["at"] = now
                    self.seen.first = self.seen.first or now
                    if event == "reset":
                        self.seen.replaced += not data["text"].startswith(state["text"])
                    state["text"] = data["text"] if event == "reset" else state["text"] + data["text"]
                elif event == "done":
                    now = time.monotonic()
                    if state["at"]:  # the end is waited for, too
                        self.seen.gaps.add(now - state["at"], now)
                    state["done"] = True
                    return
                elif event == "error":
                    state["error"] = data["error"].get("code") or "error"
                    return
                n += 1
                if cut and n >= cut:
                    raise Broken

    async def ask(self):
        question = f"{self.wish} {self.asked} of user {self.number}, drawn {self.random.randrange(10**9)}"
        self.asked += 1
        key = f"m-{self.number}-{self.asked}-{self.random.random()}"
        state = {"question": question, "id": None, "last": 0, "text": "", "at": 0, "since": time.monotonic(), "done": False, "error": None}
        end = time.monotonic() + ANSWER_SECONDS
        tries = 0
        while time.monotonic() < end and not state["done"]:
            self.writer = writer = None
            try:
                if state["id"] is None:
                    status, reader, writer = await self.request("POST", f"/api/v1/conversations/{self.conversation}/messages", {"content": question},
                                                                ["Accept: text/event-stream", f"Idempotency-Key: {key}"])
                    self.seen.resent += tries > 0
                else:
                    status, reader, writer = await self.request("GET", f"/api/v1/messages/{state['id']}/events", None,
                                                                ["Accept: text/event-stream", f"Last-Event-ID: {state['last']}"])
                    self.seen.reconnected += 1
                tries, self.writer = tries + 1, writer
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
        self.writer = None
        if not state["done"]:
            self.seen.failed(state["error"] or "not whole in time")
            return
        expected = answer_to(question, self.o.tokens) if self.known else await self.stored(state["id"], time.monotonic() + 10)
        self.seen.texts[state["id"]] = state["text"]
        if state["text"] == expected:
            self.seen.good += 1
            return
        same = len(os.path.commonprefix([state["text"], expected or ""]))
        print(f"text differs from byte {same} on: {len(state['text'])} bytes in place of {len(expected or '')}; {tries} requests", flush=True)
        self.seen.failed("text differs")

    async def stored(self, message_id, end):
        """The answer's text as the store has it; None when it cannot be had in time."""
        while time.monotonic() < end:
            try:
                status, reader, writer = await self.request("GET", f"/api/v1/messages/{message_id}", None, ["Accept: application/json"])
                text = await reader.read()
                writer.close()
                if status == 200:
                    return json.loads(text[text.index(b"{"):text.rindex(b"}") + 1])["content"]
            except (Broken, OSError, ValueError):
                pass
            await asyncio.sleep(0.2)
        return None

    async def live(self, until):
        await asyncio.sleep(self.random.random() * self.o.think)
        while time.monotonic() < until:
            if self.asked % self.o.questions == 0:  # else conversations grow for an hour
                self.conversation = None
            if self.conversation is None:
                await self.begin()
            if self.conversation is not None:
                await self.ask()
            await asyncio.sleep(self.random.expovariate(1 / self.o.think))


class Page:
    """Asks for what the page asks before anything else (it reads the store) ten times a second; the longest time without an answer is the
    outage, also one that has no end."""

    def __init__(self, port):
        self.port, self.longest, self.asked, self.failed = port, 0.0, 0, 0

    async def once(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
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
        self.longest = max(self.longest, time.monotonic() - good)
