"""Runs the complete program for end-to-end and fault tests. Standard library only.

    with Program(upstream=mock.url) as p:      # or Program(model="smollm2-135m-instruct")
        admin = p.setup()
        answer = admin.chat("hello")

The binary is $PARLEY_BINARY. Everything lives in a temporary folder; processes are ended by id.
"""

import glob
import hashlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.append(os.path.join(os.path.dirname(__file__), "..", "..", "bench"))

from lib.ports import free_port  # noqa: E402

BINARY = os.environ.get("PARLEY_BINARY", os.path.join(os.path.dirname(__file__), "..", "..", "build", "parley"))
SMALL_MODEL = "smollm2-135m-instruct"


# A machine that is held up for a moment must not change what is said: nothing is left out for being late. Tests of just that say
# otherwise.
PATIENT = {"PARLEY_EMBEDDING_WAIT_MS": "60000", "PARLEY_SEARCH_WAIT_MS": "60000", "PARLEY_GUARD_TIMEOUT_MS": "60000"}


def wait_for(check, what, seconds=300):
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


def kill_now(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class ApiError(Exception):
    def __init__(self, status, body, headers):
        super().__init__(f"HTTP {status}: {body}")
        self.status, self.body, self.headers = status, body, headers
        self.error = body.get("error", {}) if isinstance(body, dict) else {}


class Client:
    """One user's session (or nobody's) on the native API."""

    def __init__(self, port, cookie=None, key=None):
        self.port, self.cookie, self.key = port, cookie, key

    def raw(self, method, path, body=None, headers=None, timeout=300):
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
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
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
        self.env = {**os.environ, "PARLEY_LOG_FORMAT": "json", **PATIENT, **(env or {})}
        self.kept = f"/dev/shm/parley-{os.geteuid()}-" + hashlib.sha256(os.path.realpath(self.data).encode()).hexdigest()[:16]
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
        """Returns when none of its processes is left: they hold the data directory and the port."""
        if not self.child:
            return
        if self.child.poll() is None:
            os.kill(self.child.pid, sig)
            try:
                self.child.wait(120)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        wait_for(lambda: not self.kill_rest(), "the end of the program's processes")
        for path in glob.glob(self.kept + "*"):  # its supervisor or server was killed
            os.unlink(path)

    def kill_rest(self):
        """Whatever the supervisor left behind. Returns those that have not ended yet."""
        left = list(self.session())
        for pid, argv in left:
            if argv[1:2] and argv[1] in ("server", "engine", "extract"):
                kill_now(pid)
        return left

    def kill(self, name):
        """kill -9, once there is such a process; returns its process id."""
        pid = wait_for(lambda: self.processes().get(name), name)
        kill_now(pid)
        return pid

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def status(self, path):
        try:
            return Client(self.port).raw("GET", path, timeout=60)[0]
        except (OSError, http.client.HTTPException):  # it is killed, or not there yet
            return 0

    def session(self):
        """(pid, argv) of each process of this program's that has not ended; argv is empty between its end and its parent's knowing."""
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            try:
                if os.getsid(pid) != self.child.pid:
                    continue
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    argv = f.read().decode().split("\0")[:-1]
                with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
                    state = f.read().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if state not in "ZX":
                yield pid, argv

    def processes(self):
        """{"supervisor": pid, "server": pid, "engine": pid} of this program's processes that live."""
        return {"supervisor" if pid == self.child.pid else argv[1]: pid for pid, argv in self.session() if len(argv) > 1}

    def setup_token(self):
        path = os.path.join(self.data, "setup-link")
        wait_for(lambda: os.path.exists(path), "setup-link")
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
