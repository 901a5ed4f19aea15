"""What the load benchmarks start and stop: the mock model server, a seeded Parley beside it, users. Standard library only."""

import json
import os
import subprocess
import tempfile
import time

from lib.ports import free_port
from lib.servers import Process, http_status, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def program(name):
    return os.path.join(ROOT, "build", name)


class Mock:
    """load_mock on a port of its own; ends by itself after `seconds` at the latest."""

    def __init__(self, work, seconds, first_ms=200, rate=30, tokens=150, lengths=None):
        self.answers = ["--lengths", lengths] if lengths else ["--tokens", str(tokens)]
        self.port, self.work = free_port(), work
        self.argv = [program("load_mock"), "--port", str(self.port), "--first-ms", str(first_ms), "--rate", str(rate),
                     "--seconds", str(seconds), *self.answers]
        self.start()
        wait_until(lambda: http_status(self.port, "/health") == 200, 10, "the mock")

    def start(self):
        self.process = Process(self.argv, os.path.join(self.work, "mock.log"))

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def stop(self):
        self.process.stop()


class SeededParley:
    """parley serve on a new data directory whose users are signed in already."""

    def __init__(self, work, name, users, upstream, *options):
        self.data, self.log = os.path.join(work, name), os.path.join(work, name + ".log")
        os.makedirs(self.data, exist_ok=True)
        self.database = os.path.join(self.data, "parley.db")
        self.sessions, self.keys = os.path.join(work, name + ".sessions"), os.path.join(work, name + ".keys")
        subprocess.run([program("load_seed"), self.database, str(users), self.sessions, self.keys], check=True)
        self.port = free_port()
        self.argv = [program("parley"), "serve", "--data-dir", self.data, "--listen", f"127.0.0.1:{self.port}", "--log-level", "warn", *options]
        if upstream:  # else its own engine
            self.argv += ["--upstream", upstream]
        self.launch()
        wait_until(lambda: http_status(self.port, "/readyz") == 200, 60, "Parley")
        self.pids = self.running()

    def launch(self):
        self.process = Process(self.argv, self.log)

    def running(self):
        """The supervisor and what it started, by name."""
        pids = {"supervisor": self.process.child.pid}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.getsid(int(pid)) == self.process.child.pid and int(pid) != self.process.child.pid:
                    argv = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
                    pids[argv[1].decode() if len(argv) > 1 else "?"] = int(pid)
            except (OSError, ProcessLookupError):
                continue
        return pids

    def memory_mb(self, name="server"):
        try:
            text = open(f"/proc/{self.pids[name]}/smaps_rollup").read()
            return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024
        except OSError:
            return 0.0

    def cpu_seconds(self, name="server"):
        try:
            fields = open(f"/proc/{self.pids[name]}/stat").read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            return 0.0

    def upgrade(self):
        """The same program takes over from itself; seconds until the server before has ended."""
        begin, before = time.monotonic(), self.running()["server"]
        subprocess.run([program("parley"), "upgrade", "--data-dir", self.data], check=True, stdout=subprocess.DEVNULL)
        wait_until(lambda: not os.path.exists(f"/proc/{before}"), 150, "the former server's end")
        self.pids = self.running()
        return time.monotonic() - begin

    def stop(self):
        self.process.stop()


class Users:
    """load_users; result() waits for its end and gives what it printed."""

    def __init__(self, port, users, seconds, *options):
        self.child = subprocess.Popen([program("load_users"), "--port", str(port), "--users", str(users), "--seconds", str(seconds),
                                       *map(str, options)], stdout=subprocess.PIPE, text=True)

    def result(self):
        out, _ = self.child.communicate()
        if self.child.returncode:
            raise SystemExit(f"bench: load_users ended with {self.child.returncode}")
        return json.loads(out)

    def watch(self, parley):
        """result(), with the server's greatest memory and its share of a core meanwhile. "Meanwhile" ends with the users: a second of rest
        more would make the share smaller, and what is divided by it greater."""
        begin, cpu, most = time.monotonic(), parley.cpu_seconds(), 0.0
        while True:
            most = max(most, parley.memory_mb())
            try:
                self.child.wait(1)
                break
            except subprocess.TimeoutExpired:
                pass
        took, cpu = time.monotonic() - begin, parley.cpu_seconds() - cpu
        return self.result(), most, cpu / took


def work_folder():
    return tempfile.TemporaryDirectory(prefix="parley-bench-")


def print_results(bench, rows):
    """rows: (name, value, unit, aim or None, better). A table, then the line that machines read."""
    print(f"\n{'':44} {'measured':>12} {'aim':>10}")
    for name, value, unit, aim, better in rows:
        sign = "" if aim is None else ("≤ " if better == "lower" else "≥ ") + f"{aim:g}"
        print(f"{name:44} {value:>12.2f} {sign:>10}  {unit}")
    print(json.dumps({"bench": bench, "results": [
        {"name": n, "value": round(v, 3), "unit": u, "aim": a, "better": b} for n, v, u, a, b in rows]}))
