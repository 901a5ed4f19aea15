#!/usr/bin/env python3
"""A scripted OpenAI-compatible model server for tests: it records what it is asked and answers what the test ordered.

Every chat request is appended to the log file (one JSON object a line: path, headers, body). The answer depends on the last
user message only, so that tests can order behaviour in words (requests for titles, which come when they like, just get one):
  "… [say: text]"     answers exactly that text, which may cite: [1]
  "… [words: N]"      answers N numbered words
  "… [hold]"          sends its first word, then waits until release() or the client's leaving
  "… [status: N]"     answers HTTP N with an error object
  "… [break: N]"      closes the connection after N words (of what is left, when it is asked to go on)
anything else         answers "You said: <message>" word by word
"""

import http.server
import json
import re
import socketserver
import sys
import threading
import zlib

MODELS = [{"id": "mock-chat", "object": "model", "created": 1, "owned_by": "tests",
           "parley": {"kind": "chat", "context_window": 4096}},
          {"id": "mock-embedding", "object": "model", "created": 1, "owned_by": "tests",
           "parley": {"kind": "embedding", "context_window": 512}}]


HELD_SECONDS = 600  # only ends a test that would hang
TITLES = "You name conversations"  # how the request for a title begins; those come when they like


def text_of(content):
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or [])


def is_title(body):
    return any(text_of(m.get("content")).startswith(TITLES) for m in body["messages"][:1])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a word that was sent is on its way before held says so

    def log_message(self, *args):
        pass

    def send_json(self, status, value, headers=()):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, v in headers:
            self.send_header(name, v)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/v1/models":
            self.send_json(200, {"object": "list", "data": self.server.models})
        elif path == "/health":
            self.send_json(200, {"status": "ok"})
        else:
            self.send_json(404, {"error": {"message": "no such path", "type": "invalid_request_error", "param": None, "code": None}})

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = json.loads(raw)
        self.server.record({"path": self.path, "authorization": self.headers.get("Authorization"), "traceparent": self.headers.get("traceparent"), "body": body})
        if self.path == "/v1/chat/completions":
            self.chat(body)
        elif self.path == "/v1/embeddings":
            if self.server.embeddings_held:
                self.server.released.wait(HELD_SECONDS)
            texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
            embed = self.server.embed or (lambda t: [float(len(t)), 1.0, 0.0])
            data = [{"object": "embedding", "index": i, "embedding": embed(str(t))} for i, t in enumerate(texts)]
            self.send_json(200, {"object": "list", "data": data, "model": body.get("model"), "usage": {"prompt_tokens": 1, "total_tokens": 1}})
        elif self.path == "/v1/tokens/count":
            self.send_json(200, {"counts": [len(t.encode()) // 4 + 1 for t in body["texts"]]})
        else:
            self.send_json(404, {"error": {"message": "no such path", "type": "invalid_request_error", "param": None, "code": None}})

    def chat(self, body):
        asked = next((text_of(m.get("content")) for m in reversed(body["messages"]) if m["role"] == "user"), "")
        if is_title(body):
            asked = "[say: A conversation]"  # what was ordered was ordered of the answer
        if self.server.silent:
            self.server.released.wait(HELD_SECONDS)
            self.close_connection = True
            return
        if self.server.message and not is_title(body):
            self.say_message(body, self.server.message)
            return
        status = re.search(r"\[status: (\d+)\]", asked)
        if status:
            code = int(status.group(1))
            retry = [("Retry-After", "7")] if code in (429, 503) else []
            self.send_json(code, {"error": {"message": f"ordered failure {code}", "type": "server_error", "param": None, "code": None}}, retry)
            return
        say = re.search(r"\[say: ((?:\[\d+\]|[^\]])*)\]", asked)
        words = re.search(r"\[words: (\d+)\]", asked)
        stop_after = re.search(r"\[break: (\d+)\]", asked)
        text = self.server.reply if self.server.reply else say.group(1) if say else " ".join(f"word{i}" for i in range(int(words.group(1)))) if words else f"You said: {asked}"
        pieces = re.findall(r"\S+\s*|\s+", text)
        begun = ""
        if (body.get("parley") or {}).get("continue"):  # the last message is the start of this very answer
            begun = text_of(body["messages"][-1]["content"])
            rest = text[len(begun):] if text.startswith(begun) else text
            pieces = re.findall(r"\S+\s*|\s+", rest)
        usage = {"prompt_tokens": sum(len(text_of(m.get("content"))) // 4 + 1 for m in body["messages"]),
                 "completion_tokens": len(pieces)}
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
        head = {"id": "chatcmpl-mock", "created": 1, "model": body.get("model") or "mock-chat"}
        if not body.get("stream"):
            self.send_json(200, {**head, "object": "chat.completion", "usage": usage, "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}]})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

        def send(choices, usage_value=None):
            chunk = {**head, "object": "chat.completion.chunk", "choices": choices, "usage": usage_value}
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")

        def delta(d, finish=None):
            return [{"index": 0, "delta": d, "finish_reason": finish}]

        try:
            send(delta({"role": "assistant", "content": ""}))
            for i, piece in enumerate(pieces):
                if stop_after and i == int(stop_after.group(1)):
                    return
                send(delta({"content": piece}))
                if i == 0 and "[hold]" in asked and not begun:
                    self.server.held.set()
                    self.server.released.wait(HELD_SECONDS)
            send(delta({}, "stop"))
            if (body.get("stream_options") or {}).get("include_usage"):
                send([], usage)
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.server.gone.set()  # the client left: what a cancelled answer looks like from here


    def say_message(self, body, message):
        """In a stream seven characters at once, as servers do: reasoning, content, then call after call."""
        head = {"id": "chatcmpl-mock", "created": 1, "model": body.get("model") or "mock-chat"}
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        if not body.get("stream"):
            self.send_json(200, {**head, "object": "chat.completion", "choices": [
                {"index": 0, "finish_reason": reason, "message": {"role": "assistant", **message}}]})
            return
        deltas = [{"role": "assistant", "content": None}]
        pieces = lambda text: re.findall(r"(?s).{1,7}", text or "")  # noqa: E731
        for key in ("reasoning_content", "content"):
            deltas += [{key: piece} for piece in pieces(message.get(key))]
        for i, call in enumerate(message.get("tool_calls", [])):
            f = call["function"]
            deltas.append({"tool_calls": [{"index": i, **call, "function": {"name": f["name"], "arguments": ""}}]})
            deltas += [{"tool_calls": [{"index": i, "function": {"arguments": piece}}]} for piece in pieces(f["arguments"])]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for delta in [*deltas, None]:
                choice = {"index": 0, "delta": delta or {}, "finish_reason": None if delta else reason}
                self.wfile.write(b"data: " + json.dumps({**head, "object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n")
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.server.gone.set()


class MockUpstream(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, log_path=None, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.requests, self.log_path, self.lock = [], log_path, threading.Lock()
        self.models, self.embeddings_held, self.embed = MODELS, False, None  # embed: text → vector
        self.reply, self.silent = None, False  # what every chat is answered; none is
        self.message = None  # the whole message that answers the next chat: reasoning, calls of tools …
        self.held, self.released, self.gone = threading.Event(), threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def record(self, entry):
        with self.lock:
            self.requests.append(entry)
            if self.log_path:
                with open(self.log_path, "a", encoding="utf-8") as f:
                    f.write(json.dumps(entry) + "\n")

    def chats(self):
        """What was asked, but for titles."""
        with self.lock:
            asked = [r["body"] for r in self.requests if r["path"] == "/v1/chat/completions"]
        return [b for b in asked if not is_title(b)]

    def handle_error(self, request, client_address):
        pass

    def close(self):
        self.released.set()
        self.shutdown()
        self.server_close()


def embed_words(text, dims=128):
    """A vector in which words that two texts share are alike: each word, cut to its stem, adds to one place."""
    v = [0.01] * dims
    for word in re.findall(r"[a-z]+", text.lower()):
        v[zlib.crc32(word[:5].encode()) % dims] += 1.0
    length = sum(x * x for x in v) ** 0.5
    return [x / length for x in v]


if __name__ == "__main__":
    mock = MockUpstream(sys.argv[2] if len(sys.argv) > 2 else None, int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(mock.url, flush=True)
    mock.thread.join()
