"""Which port a program of a benchmark or a test listens on (tests/e2e/harness.py takes it from here)."""

import random
import socket


def free_port():
    """A port that nothing has, and that no outgoing connection is given before it is used, or while its program is away."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
        low, high = map(int, f.read().split())
    others = [port for port in range(10000, 65536) if not low <= port <= high] or range(10000, 65536)
    while True:
        with socket.socket() as s:
            port = random.choice(others)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
