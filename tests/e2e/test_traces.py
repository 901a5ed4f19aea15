"""Traces: the caller's context goes on to the model server, and a turn's spans to the collector, without a word of what was said."""

import http.server
import json
import threading

from harness import Program, wait_for
from mock_upstream import MockUpstream

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.bodies.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args):
        pass


def test_turns_are_traced():
    collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    collector.bodies = []
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    upstream = MockUpstream()
    endpoint = f"http://127.0.0.1:{collector.server_address[1]}/v1/traces"
    with Program(upstream=upstream.url, args=["--otlp-endpoint", endpoint]) as p:
        c = p.setup()
        path = f"/api/v1/conversations/{c.conversation()}/messages"
        list(c.stream("POST", path, {"content": "a secret [say: hush]"}, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}))
        list(c.stream("POST", path, {"content": "untold"}, headers={"traceparent": "00-00000000000000000000000000000000-zz-01"}))
        # Each loop sends its own batch: the two turns may come in one or in two.
        wait_for(lambda: sum(b.count(b'"name":"turn"') for _, b in collector.bodies) == 2, "the spans of both turns")
        spans = [s for _, b in collector.bodies for r in json.loads(b)["resourceSpans"] for x in r["scopeSpans"] for s in x["spans"]]
        turn = next(s for s in spans if s["name"] == "turn" and s["traceId"] == TRACE)
        assert turn["parentSpanId"] == PARENT
        children = [s for s in spans if s.get("parentSpanId") == turn["spanId"]]
        assert {s["name"] for s in children} == {"prepare", "model"}
        for s in children:
            assert int(turn["startTimeUnixNano"]) - 10**7 <= int(s["startTimeUnixNano"]) <= int(s["endTimeUnixNano"]) <= int(turn["endTimeUnixNano"]) + 10**7
        assert all(b"secret" not in b and b"hush" not in b for _, b in collector.bodies)
        passed = [r["traceparent"] for r in upstream.requests if r["path"] == "/v1/chat/completions"]
        assert passed[0] == f"00-{TRACE}-{turn['spanId']}-01"
        others = [t for t in passed[1:] if t]  # what cannot be read begins a trace of its own; titles have none
        assert others and all(TRACE not in t for t in others)
    upstream.close()
    collector.shutdown()
