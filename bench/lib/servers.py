"""Starts and stops what the benchmarks measure: Parley in whole and llama-server. Standard library only."""

import http.client
import json
import os
import signal
import subprocess
import time

from lib.ports import free_port


def wait_until(check, seconds, what):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return
        time.sleep(0.05)
    raise SystemExit(f"bench: {what} did not come within {seconds} s")


def http_status(port, path):
    try:
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        c.request("GET", path)
        status = c.getresponse().status
        c.close()
        return status
    except OSError:
        return 0


def http_post(port, path, body):
    """The JSON that a server without accounts answers."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    c.request("POST", path, json.dumps(body), {"Content-Type": "application/json", "Connection": "close"})
    r = c.getresponse()
    text = r.read()
    c.close()
    if r.status != 200:
        raise SystemExit(f"bench: POST {path} answered {r.status}: {text[:300]!r}")
    return json.loads(text)


class Process:
    """A child in a group of its own; stop() ends the whole group and nothing else."""

    def __init__(self, argv, log_path, env=None):
        self.log = open(log_path, "ab")
        self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                      start_new_session=True, env=env)

    def stop_hard(self):
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()
        self.log.close()

    def stop(self):
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGTERM)
            try:
                self.child.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.child.pid, signal.SIGKILL)
                self.child.wait()
        self.log.close()


def api(port, method, path, body=None, cookie=None):
    """One native API call; returns (answer, session cookie or None)."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {"Accept": "application/json"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    if cookie:
        headers["Cookie"] = cookie
    c.request(method, path, None if body is None else json.dumps(body), headers)
    r = c.getresponse()
    text = r.read()
    set_cookie = r.getheader("Set-Cookie")
    c.close()
    if r.status >= 300:
        raise SystemExit(f"bench: {method} {path} answered {r.status}: {text[:300]!r}")
    return (json.loads(text) if text else None), (set_cookie.split(";")[0] if set_cookie else cookie)


class Parley:
    """The complete program on its own data directory, with an administrator signed in."""

    def __init__(self, binary, work, model):
        self.port = free_port()
        data = os.path.join(work, "parley-" + model)
        os.makedirs(data)
        self.process = Process([binary, "serve", "--data-dir", data, "--listen", f"127.0.0.1:{self.port}", "--model", model,
                                "--log-level", "warn"], os.path.join(work, f"parley-{model}.log"))
        wait_until(lambda: http_status(self.port, "/readyz") == 200, 120, "Parley")
        with open(os.path.join(data, "setup-link"), encoding="ascii") as f:
            token = f.read().strip().split("#setup=")[1]
        _, self.cookie = api(self.port, "POST", "/api/v1/setup", {
            "token": token, "username": "bench", "email": "bench@example.org", "password": "a long password"})
        self.roles = {r["slug"]: r for r in api(self.port, "GET", "/api/v1/roles", cookie=self.cookie)[0]["data"]}

    def set_parameters(self, max_tokens):
        for r in self.roles.values():
            api(self.port, "PATCH", f"/api/v1/roles/{r['role_id']}",
                {"max_tokens": max_tokens, "temperature": 0}, self.cookie)

    def memory_kb(self):
        """Proportional set sizes by process name: supervisor, server, engine."""
        sizes, names = {}, {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.getpgid(int(pid)) != self.process.child.pid and os.getsid(int(pid)) != self.process.child.pid:
                    continue
                argv = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
                rollup = open(f"/proc/{pid}/smaps_rollup").read()
            except (OSError, ProcessLookupError):
                continue
            name = argv[1].decode(errors="replace") if len(argv) > 1 else "?"
            pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
            names[pid] = name
            sizes[name] = sizes.get(name, 0) + pss
        return sizes

    def stop(self):
        self.process.stop()


def library_flags():
    """What the library needs wherever it runs: with AMX it would lay the weights out in tiles, which is a SIGSEGV in virtual machines
    that show AMX without letting it be used (src/engine/llama_model.c does the same)."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
        return ["--no-repack"] if " amx_int8" in f.read() else []


class LlamaServer:
    """llama-server on the same weights, with as many slots as users and the window that Parley gives each."""

    def __init__(self, binary, work, gguf, slots, context, threads):
        self.port = free_port()
        self.process = Process([binary, "-m", gguf, "--host", "127.0.0.1", "--port", str(self.port), "-np", str(slots), "-c",
                                str(slots * context), "-t", str(threads), "--no-webui", *library_flags()],
                               os.path.join(work, "llama-server.log"))
        wait_until(lambda: http_status(self.port, "/health") == 200, 120, "llama-server")

    def stop(self):
        self.process.stop()
