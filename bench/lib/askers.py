"""Chat requests to an OpenAI-compatible server from many users at once, on one thread. Standard library only.

A load generator that shares two cores with what it measures must be light: one epoll loop, sockets without layers, and nothing
parsed that is not needed (a chunk's JSON is looked at once for its text). Each request has a connection of its own, because
llama-server closes kept-alive ones.

Times are those of the client's socket: a request counts from when its last byte is given to the kernel, and what comes back from
when the kernel has it for the client (SO_TIMESTAMPNS), however long this program then waits for a core to read it. How long that was
is told apart (Answer.read).
"""

import json
import selectors
import socket
import struct
import time

SO_TIMESTAMPNS = 35  # asm-generic/socket.h; the socket module has no name for it
# From the kernel's clock to time.perf_counter(): of some tries the one in which the least time went by between the two.
CLOCKS = max(time.time() - time.perf_counter() for _ in range(50))


def kernel_time(stamp):
    seconds, nanoseconds = struct.unpack("qq", stamp)
    return seconds - CLOCKS + nanoseconds * 1e-9


class Answer:
    """What came of one request. Times are seconds of time.perf_counter(); read: when this program had the last of it."""

    __slots__ = ("user", "begun", "sent", "status", "first", "times", "texts", "ended", "read", "usage", "finish", "error", "retry_after")

    def __init__(self, user):
        self.user, self.begun, self.sent = user, time.perf_counter(), None
        self.status, self.first, self.ended, self.read = 0, None, None, None
        self.times, self.texts = [], []
        self.usage = self.finish = self.error = None
        self.retry_after = 0.0

    @property
    def ttft(self):
        return self.first - self.sent if self.first else None

    @property
    def refused(self):
        return self.status == 429

    @property
    def good(self):
        return self.status == 200 and self.finish is not None and self.error is None

    @property
    def text(self):
        return "".join(self.texts)


class _Connection:
    """One request on its way: sends it, reads head, chunks and events."""

    def __init__(self, port, body, answer):
        self.answer = answer
        data = json.dumps(body).encode()
        self.out = (b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                    b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(data)) + data
        self.raw, self.text, self.chunked, self.head = b"", b"", False, False
        self.s = socket.socket()
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.s.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.came = None  # when the last bytes did
        self.s.connect(("127.0.0.1", port))
        self.s.setblocking(False)
        self.send()

    def send(self):
        now = time.perf_counter()
        try:
            self.out = self.out[self.s.send(self.out):]
        except BlockingIOError:
            pass
        if not self.out and self.answer.sent is None:
            self.answer.sent = now

    def receive(self):
        """True when the answer has ended."""
        try:
            data, notes, _, _ = self.s.recvmsg(1 << 16, 64)
        except BlockingIOError:
            return False
        except OSError as e:
            self.answer.error = self.answer.error or str(e)
            return True
        now = time.perf_counter()
        if data:
            self.came = next((kernel_time(value) for _, kind, value in notes if kind == SO_TIMESTAMPNS), now)
        self.raw += data
        if not self.head and not self.read_head():
            return not data
        self.read_body()
        self.read_events(self.came)
        if not data:
            self.answer.read = now
            self.end(self.came or now)
        return not data

    def read_head(self):
        at = self.raw.find(b"\r\n\r\n")
        if at < 0:
            return False
        lines = self.raw[:at].decode("latin-1").split("\r\n")
        self.raw, self.head = self.raw[at + 4:], True
        self.answer.status = int(lines[0].split()[1])
        for line in lines[1:]:
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip()
            if name == "transfer-encoding":
                self.chunked = "chunked" in value
            elif name == "retry-after-ms":
                self.answer.retry_after = float(value) / 1000
            elif name == "retry-after" and not self.answer.retry_after:
                self.answer.retry_after = float(value)
        return True

    def read_body(self):
        if not self.chunked:
            self.text, self.raw = self.text + self.raw, b""
            return
        while True:
            at = self.raw.find(b"\r\n")
            if at < 0:
                return
            size = int(self.raw[:at].split(b";")[0] or b"0", 16)
            if len(self.raw) < at + 2 + size + 2:
                return
            self.text += self.raw[at + 2:at + 2 + size]
            self.raw = self.raw[at + 4 + size:]

    def read_events(self, now):
        a = self.answer
        if a.status != 200:
            return
        *lines, self.text = self.text.split(b"\n")
        for line in lines:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                a.error = str(event["error"].get("message"))
                continue
            if event.get("usage"):
                a.usage = event["usage"]
            for choice in event.get("choices", ()):
                content = choice["delta"].get("content")
                if content:
                    a.first = a.first or now
                    a.times.append(now)
                    a.texts.append(content)
                a.finish = choice.get("finish_reason") or a.finish

    def end(self, now):
        a = self.answer
        a.ended = now
        if a.status != 200 and not a.refused:
            a.error = a.error or f"{a.status} {self.text[:200]!r}"
        elif a.status == 200 and not a.finish:
            a.error = a.error or "the answer was cut"


class Load:
    """A loop that holds any number of requests in the air."""

    def __init__(self, port):
        self.port, self.selector, self.n = port, selectors.DefaultSelector(), 0
        self.later = []  # (when, function)

    def start(self, user, body, on_end, on_piece=None):
        """on_end(answer) when it has ended; on_piece(answer) after each arrival."""
        answer = Answer(user)
        c = _Connection(self.port, body, answer)
        self.selector.register(c.s, selectors.EVENT_READ | (selectors.EVENT_WRITE if c.out else 0), (c, on_end, on_piece))
        self.n += 1
        return answer

    def run(self, until=None, enough=lambda: False):
        """Until nothing is in the air, that time, or enough(); what is then still in the air is closed (a client that leaves)."""
        while (self.n or self.later) and not enough():
            now = time.perf_counter()
            if until and now >= until:
                break
            due = [e for e in self.later if e[0] <= now]
            if due:  # one at a time: what comes meanwhile is received when it comes
                self.later.remove(due[0])
                due[0][1]()
            for key, mask in self.selector.select(0 if due else 0.01 if self.later or until else 1.0):
                c, on_end, on_piece = key.data
                if mask & selectors.EVENT_WRITE:
                    c.send()
                    if not c.out:
                        self.selector.modify(c.s, selectors.EVENT_READ, key.data)
                if mask & selectors.EVENT_READ:
                    ended = c.receive()
                    if on_piece:
                        on_piece(c.answer)
                    if ended:
                        self.drop(key)
                        c.answer.ended = c.answer.ended or time.perf_counter()
                        on_end(c.answer)
        for key in list(self.selector.get_map().values()):
            self.drop(key)
        self.later.clear()

    def drop(self, key):
        self.selector.unregister(key.fileobj)
        key.fileobj.close()
        self.n -= 1


def ask(port, body):
    """One request by itself."""
    load, got = Load(port), []
    load.start(0, body, got.append)
    load.run()
    return got[0]


def closed_loop(port, users, seconds, make_body):
    """Each user asks, reads, asks again; one who was refused comes back after Retry-After. make_body(user, n) gives a body.
    Returns the answers that ended, those still running at the end, and the seconds it took."""
    load, ended, running, count = Load(port), [], {}, [0] * users
    begin = time.perf_counter()

    def again(user):
        count[user] += 1
        running[user] = load.start(user, make_body(user, count[user]), on_end)

    def on_end(answer):
        ended.append(answer)
        running.pop(answer.user, None)
        if answer.refused or answer.error:
            load.later.append((time.perf_counter() + max(0.1, answer.retry_after), lambda: again(answer.user)))
        else:
            again(answer.user)

    for user in range(users):
        load.later.append((begin, lambda user=user: again(user)))
    load.run(begin + seconds)
    return ended, list(running.values()), time.perf_counter() - begin
