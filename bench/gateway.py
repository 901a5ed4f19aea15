#!/usr/bin/env python3
"""What a request costs on its way through: bench/gateway.py [--seconds 20] [--rounds 3] [--quick].

As public gateway benchmarks do it: a mock model server that answers at once, reached directly, through Parley's OpenAI-compatible API
(authentication, admission, guard; nothing stored), through its native API (the same, and every message durable), and through LiteLLM's
proxy; with the guard's rules and without. A conversation of the native API has ten questions, then a new one is begun.
One connection for the added time, 64 for what the machine can do; rounds alternate. Everything shares this machine's cores, so
requests per core are counted by the CPU time that the gateway itself used."""

import argparse
import os
import secrets
import statistics

from lib.load import Mock, SeededParley, Users, print_results, work_folder
from lib.ports import free_port
from lib.servers import Process, http_status, wait_until

TOKENS, TURNS = 20, 10


def options():
    p = argparse.ArgumentParser()
    p.add_argument("--seconds", type=int, default=15, help="of each run")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--connections", type=int, default=64)
    p.add_argument("--litellm", default=os.environ.get("LITELLM"), help="LiteLLM's program; without it only Parley is measured")
    p.add_argument("--quick", action="store_true", help="one round of 3 s")
    o = p.parse_args()
    if o.quick:
        o.seconds, o.rounds = 3, 1
    return o


class LiteLlm:
    """LiteLLM's proxy with one worker, as its documentation starts it: a master key, no database."""

    def __init__(self, program, work, upstream_port, connections):
        key = "sk-" + secrets.token_hex(16)
        self.keys = os.path.join(work, "litellm.keys")
        with open(self.keys, "w", encoding="ascii") as f:
            f.write(f"{key}\n" * connections)
        config = os.path.join(work, "litellm.yaml")
        with open(config, "w", encoding="ascii") as f:
            f.write("model_list:\n  - model_name: mock\n    litellm_params:\n      model: openai/mock\n"
                    f"      api_base: http://127.0.0.1:{upstream_port}/v1\n      api_key: none\n")
        self.port = free_port()
        env = dict(os.environ, LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_TELEMETRY="False",
                   LITELLM_MASTER_KEY=key)
        self.process = Process([program, "--config", config, "--port", str(self.port), "--host", "127.0.0.1", "--num_workers", "1"],
                               os.path.join(work, "litellm.log"), env)
        wait_until(lambda: http_status(self.port, "/health/liveliness") == 200, 120, "LiteLLM")

    def tree(self):
        pids = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.getsid(int(pid)) == self.process.child.pid:
                    pids.append(int(pid))
            except ProcessLookupError:
                continue
        return pids

    def memory_mb(self):
        total = 0
        for pid in self.tree():
            text = open(f"/proc/{pid}/smaps_rollup").read()
            total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        return total / 1024

    def cpu_seconds(self):
        total = 0
        for pid in self.tree():
            fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.stop()


class Path:
    """One way to the mock, and what its runs gave."""

    def __init__(self, name, port, options, gateway):
        self.name, self.port, self.options, self.gateway = name, port, options, gateway
        self.runs = {}

    def run(self, kind, connections, seconds, plain):
        more = ["--plain", "yes"] if plain else []
        users = Users(self.port, connections, seconds, "--think-ms", 0, "--tokens", TOKENS, *self.options, *more)
        r, memory, cores = users.watch(self.gateway) if self.gateway else (users.result(), 0.0, 0.0)
        bad = r["broken"] + r["wrong"] + r["failed_status"] + r["refused"]
        if bad:
            print(f"{self.name}, {kind}: {bad} requests failed", flush=True)
        self.runs.setdefault(kind, []).append((r, memory, cores))

    def median(self, kind, get):
        values = [get(*run) for run in self.runs.get(kind, [])]
        return statistics.median(values) if values else 0.0

    def spread(self, kind, get):
        values = [get(*run) for run in self.runs.get(kind, [])] or [0.0]
        return f"{min(values):.2f}–{max(values):.2f}"


def rate(r, *_):
    return r["answers_per_s"]


def per_core(r, _, cores):
    return r["answers_per_s"] / cores if cores else 0.0


def ttft(quantile):
    return lambda r, *_: r["ttft_ms"][quantile]


def measure(o, paths):
    for i in range(o.rounds):
        for p in paths:
            slow = p.name == "LiteLLM"
            p.run("one", 1, o.seconds, True)
            p.run("many", 8 if slow else o.connections, o.seconds, True)
            p.run("stream", 1, o.seconds, False)
        print(f"round {i + 1} of {o.rounds} is over", flush=True)


def report(paths):
    direct, without, stored, bare, bare_stored = paths[:5]
    print(f"\n{'':34}{'p50 ms':>9}{'p99 ms':>9}{'spread of p99':>16}{'requests/s':>12}{'spread':>20}{'per core':>10}{'MB':>7}{'stream TTFT p50':>17}")
    for p in paths:
        print(f"{p.name:34}{p.median('one', ttft('p50')):>9.3f}{p.median('one', ttft('p99')):>9.3f}{p.spread('one', ttft('p99')):>16}"
              f"{p.median('many', rate):>12.0f}{p.spread('many', rate):>20}{p.median('many', per_core):>10.0f}"
              f"{p.median('many', lambda _, m, c: m):>7.0f}{p.median('stream', ttft('p50')):>17.3f}")

    def added(p, kind, quantile):
        return p.median(kind, ttft(quantile)) - direct.median(kind, ttft(quantile))

    rows = [("added p50, one connection", added(without, "one", "p50"), "ms", None, "lower"),
            ("added p99, one connection", added(without, "one", "p99"), "ms", 0.25, "lower"),
            ("added p50 with store", added(stored, "one", "p50"), "ms", None, "lower"),
            ("added p99 with store", added(stored, "one", "p99"), "ms", None, "lower"),
            ("requests/s per core without store", without.median("many", per_core), "1/s", 15000, "higher"),
            ("requests/s per core with store", stored.median("many", per_core), "1/s", 5000, "higher"),
            ("added TTFT when streaming, p50", added(without, "stream", "p50"), "ms", None, "lower"),
            ("added TTFT when streaming, p99", added(without, "stream", "p99"), "ms", None, "lower"),
            ("added p99, one connection, guard off", added(bare, "one", "p99"), "ms", 0.25, "lower"),
            ("added p99 with store, guard off", added(bare_stored, "one", "p99"), "ms", None, "lower"),
            ("requests/s per core without store, guard off", bare.median("many", per_core), "1/s", 15000, "higher"),
            ("requests/s per core with store, guard off", bare_stored.median("many", per_core), "1/s", 5000, "higher"),
            ("server memory", without.median("many", lambda _, m, c: m), "MB", None, "lower")]
    if len(paths) > 5:
        litellm = paths[5]
        rows.append(("requests/s per core against LiteLLM's", without.median("many", per_core) / max(litellm.median("many", per_core), 1e-9),
                     "×", 100, "higher"))
        rows.append(("LiteLLM: added p50, one connection", added(litellm, "one", "p50"), "ms", None, "lower"))
        rows.append(("LiteLLM: requests/s", litellm.median("many", rate), "1/s", None, "higher"))
    print_results("gateway", rows)


def main():
    o = options()
    with work_folder() as work:
        mock = Mock(work, 6 * 3 * o.rounds * o.seconds + 900, first_ms=0, rate=100000, tokens=TOKENS)
        # One user may not run that many at once by default; the connections belong to as many users.
        parley = SeededParley(work, "gateway", o.connections, mock.url, "--titles", "off")
        bare = SeededParley(work, "bare", o.connections, mock.url, "--titles", "off", "--guard", "off")

        def ways(server, words):
            return [Path(f"Parley, nothing stored{words}", server.port, ["--api", "openai", "--credentials", server.keys], server),
                    Path(f"Parley, all stored{words}", server.port, ["--api", "native", "--turns", TURNS, "--credentials", server.sessions], server)]

        paths = [Path("mock directly", mock.port, [], None), *ways(parley, ""), *ways(bare, ", guard off")]
        litellm = LiteLlm(o.litellm, work, mock.port, o.connections) if o.litellm else None
        if litellm:
            paths.append(Path("LiteLLM", litellm.port, ["--credentials", litellm.keys], litellm))
        measure(o, paths)
        for p in (litellm, parley, bare, mock):
            if p:
                p.stop()
        report(paths)


if __name__ == "__main__":
    main()
