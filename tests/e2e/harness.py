"""Runs the complete program for end-to-end and fault tests. Standard library only.

    with Program(upstream=mock.url) as p:      # or Program(model="smollm2-135m-instruct")
        admin = p.setup()
        answer = admin.chat("hello")

The binary is $PARLEY_BINARY. Everything lives in a temporary folder; processes are ended by id.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

BINARY = os.environ.get("PARLEY_BINARY", os.path.join(os.path.dirname(__file__), "..", "..", "build", "parley"))
SMALL_MODEL = "smollm2-135m-instruct"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(check, what, seconds=60):
    """Polls until check() is true; the bound only ends a test that would hang."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come within {seconds} s")
        pause.wait(0.02)


class ApiError(Exception):
    def __init__(self, status, body, headers):
        super().__init__(f"HTTP {status}: {body}")
        self.status, self.body, self.headers = status, body, headers
        self.error = body.get("error", {}) if isinstance(body, dict) else {}


class Client:
    """One user's session (or nobody's) on the native API."""

    def __init__(self, port, cookie=None, key=None):
        self.port, self.cookie, self.key = port, cookie, key

    def raw(self, method, path, body=None, headers=None, timeout=120):
        """Sends bytes or JSON; returns (status, headers, bytes)."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        h = {"Accept": "application/json"}
        if self.cookie:
            h["Cookie"] = self.cookie
        if self.key:
            h["Authorization"] = "Bearer " + self.key
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            h["Content-Type"] = "application/json"
        h.update(headers or {})
        c.request(method, path, body, h)
        r = c.getresponse()
        text = r.read()
        cookie = r.getheader("Set-Cookie")
        if cookie and cookie.startswith("parley_session=") and not cookie.startswith("parley_session=;"):
            self.cookie = cookie.split(";")[0]
        c.close()
        return r.status, r.headers, text

    def call(self, method, path, body=None, headers=None):
        status, h, text = self.raw(method, path, body, headers)
        value = json.loads(text) if text else None
        if status >= 300:
            raise ApiError(status, value, h)
        return value

    def get(self, path):
        return self.call("GET", path)

    def post(self, path, body=None):
        return self.call("POST", path, {} if body is None else body)

    def stream(self, method, path, body=None, headers=None):
        """Opens an SSE stream; returns a Stream."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        h = {"Accept": "text/event-stream", "Content-Type": "application/json"}
        if self.cookie:
            h["Cookie"] = self.cookie
        if self.key:
            h["Authorization"] = "Bearer " + self.key
        h.update(headers or {})
        c.request(method, path, None if body is None else json.dumps(body).encode(), h)
        r = c.getresponse()
        if r.status != 200:
            raise ApiError(r.status, json.loads(r.read() or b"null"), r.headers)
        return Stream(c, r)

    def conversation(self, role=None, **fields):
        if role:
            roles = {r["slug"]: r["role_id"] for r in self.get("/api/v1/roles")["data"]}
            fields["assistant_role_id"] = roles[role]
        return self.post("/api/v1/conversations", fields)["conversation_id"]

    def say(self, conversation_id, content, **fields):
        """A whole turn over SSE; returns (events, final message)."""
        s = self.stream("POST", f"/api/v1/conversations/{conversation_id}/messages", {"content": content, **fields})
        events = list(s)
        s.close()
        return events, events[-1]["data"].get("message")


class Stream:
    """Iterates over {"id","event","data"} of an SSE stream; data is parsed."""

    def __init__(self, connection, response):
        self.connection, self.response = connection, response

    def __iter__(self):
        event, ident, data = "message", None, []
        for raw in self.response:
            line = raw.decode().rstrip("\r\n")
            if not line:
                if data:
                    text = "\n".join(data)
                    yield {"id": ident, "event": event, "data": text if text == "[DONE]" else json.loads(text)}
                event, ident, data = "message", None, []
            elif line.startswith("event:"):
                event = line[6:].strip()
            elif line.startswith("id:"):
                ident = int(line[3:])
            elif line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))

    def close(self):
        try:
            if self.connection.sock:
                self.connection.sock.close()
        finally:
            self.response.close()
            self.connection.close()


class Program:
    """`parley serve` on a data directory of its own. A machine that is late must not change what is answered, so that less is done
    under load only where a test is about that."""

    def __init__(self, upstream=None, model=None, data=None, port=None, args=(), env=None, degrade=False):
        self.work = tempfile.mkdtemp(prefix="parley-test-")
        self.data = data or os.path.join(self.work, "data")
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.argv = [BINARY, "serve", "--data-dir", self.data, "--listen", f"127.0.0.1:{self.port}", *args]
        if not degrade:
            self.argv += ["--degrade", "off"]
        if upstream:
            self.argv += ["--upstream", upstream]
        else:
            self.argv += ["--model", model or SMALL_MODEL]
        self.env = {**os.environ, "PARLEY_LOG_FORMAT": "json", **(env or {})}
        self.log_path = os.path.join(self.work, "log")
        self.child = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        self.stop()
        if kind:
            print(self.log()[-4000:])
        shutil.rmtree(self.work, ignore_errors=True)

    def start(self, ready="/readyz"):
        os.makedirs(self.data, exist_ok=True)
        with open(self.log_path, "ab") as log:
            self.child = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env,
                                          start_new_session=True)
        if ready:
            wait_for(lambda: self.status(ready) == 200 or self.child.poll() is not None, ready)
            assert self.child.poll() is None, "the program ended: " + self.log()[-2000:]

    def stop(self, sig=signal.SIGTERM):
        if self.child and self.child.poll() is None:
            os.kill(self.child.pid, sig)
            try:
                self.child.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.child.pid, signal.SIGKILL)
                self.child.wait()
        if self.child:
            try:
                os.killpg(self.child.pid, signal.SIGKILL)  # whatever the supervisor left behind
            except ProcessLookupError:
                pass

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def status(self, path):
        try:
            return Client(self.port).raw("GET", path, timeout=10)[0]
        except OSError:
            return 0

    def processes(self):
        """{"supervisor": pid, "server": pid, "engine": pid} of this program's processes that live."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.getsid(int(pid)) != self.child.pid:
                    continue
                argv = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
                state = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]
            except (OSError, ProcessLookupError):
                continue
            if state != "Z" and len(argv) > 1:
                found["supervisor" if int(pid) == self.child.pid else argv[1].decode()] = int(pid)
        return found

    def setup_token(self):
        path = os.path.join(self.data, "setup-link")
        wait_for(lambda: os.path.exists(path), "setup-link", 20)
        with open(path, encoding="ascii") as f:
            return f.read().strip().split("#setup=")[1]

    def setup(self, username="admin"):
        """Makes the first account; returns its client."""
        c = Client(self.port)
        c.post("/api/v1/setup", {"token": self.setup_token(), "username": username, "email": f"{username}@example.org",
                                 "password": "a long password"})
        return c

    def sign_up(self, username):
        c = Client(self.port)
        c.user = c.post("/api/v1/users", {"username": username, "email": f"{username}@example.org", "password": "a long password"})
        return c
