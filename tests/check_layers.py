#!/usr/bin/env python3
"""Checks rules about the sources: check_layers.py REPOSITORY.

1. Includes go downward only through the layers of ARCHITECTURE.md; siblings of a layer do not include each other.
2. Each foreign library is included in one place.
3. No file of code is longer than 1,000 lines.
4. No file names a package registry's host (packages are named, the package manager knows where they are).

Prints each fault as path:line: what, and exits with 1 when there is any.
"""
import os
import re
import sys

LAYERS = {
    "base": 0,
    "net": 1, "config": 1, "text": 1,
    "store": 2,
    "auth": 3, "safety": 3, "retrieval": 3, "extract": 3, "prompt": 3, "upstream": 3, "engine": 3,
    "turn": 4, "learn": 4, "ingest": 4,
    "api": 5,
    "supervisor": 6, "cli": 7, "main": 8,
}  # the top layer of the design is split in three: main calls cli, cli calls supervisor

# Embeddings reach these siblings through the upstream's contract.
SIBLINGS = {("retrieval", "upstream/upstream.h"), ("safety", "upstream/upstream.h")}

# Which file or folder of src/ may include headers that match.
FOREIGN = [
    (r"sqlite3(ext)?\.h", "store/"),
    (r"libpq-fe\.h", "store/"),
    (r"(llama|gguf|ggml[\w-]*)\.h", ("engine/llama_model.c", "engine/llama_kv.c", "engine/llama_layers.c", "engine/llama_weights.c", "engine/panel_buffer.cpp",
                                    "engine/attention_ops.cpp")),
    (r"ggml-cpu/.*", ("engine/panel_buffer.cpp", "engine/attention_ops.cpp", "engine/attention_ops.h", "engine/lazy_buffer.c")),
    (r"llama-jinja/.*", "engine/chat_template.cpp"),
    (r"curl/.*", "net/"),
    (r"(event2/.*|event\.h|evhttp\.h)", "net/"),
    (r"sodium(/.*|\.h)", "base/"),
    (r"yyjson\.h", "base/json.h"),
    (r"(libxml/.*|archive(_entry)?\.h|seccomp\.h)", "extract/"),
    (r"unicode/.*", ("text/", "safety/")),
    (r"libstemmer\.h", "text/"),
]

CODE = (".c", ".h", ".py", ".ts", ".tsx", ".js", ".mjs", ".css", ".sh", ".cmake")
LINES_MAX = 1000

# Written in halves so that this file passes its own check.
REGISTRY_HOSTS = ["pypi" + ".org", "files.pythonhosted" + ".org", "registry.npmjs" + ".org", "registry.yarnpkg" + ".com",
                  "proxy.golang" + ".org", "deb.debian" + ".org", "index.crates" + ".io"]
NOT_OURS = {".git", "node_modules", "dist", "data", ".cache", "__pycache__", ".venv"}

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')


def our_files(root):
    for folder, names, files in os.walk(root):
        names[:] = [n for n in names if n not in NOT_OURS and not (folder == root and n.startswith("build"))]
        for name in files:
            yield os.path.relpath(os.path.join(folder, name), root)


def check_include(path, target, quoted):
    """The fault of this include as text, or None. path is relative to src/."""
    folder = path.split("/")[0]
    for pattern, place in FOREIGN:
        if re.fullmatch(pattern, target) and not path.startswith(place):
            places = place if isinstance(place, str) else " and src/".join(place)
            return f"{target} may be included in src/{places} only"
    other = target.split("/")[0] if "/" in target else None
    if not quoted or other is None or other == folder:
        return None
    if other not in LAYERS:
        return f'"{target}": {other} is no folder of the layers'
    if LAYERS[other] >= LAYERS[folder] and (folder, target) not in SIBLINGS:
        return f"{folder} (layer {LAYERS[folder]}) may not include {target} (layer {LAYERS[other]})"
    return None


def check_file(root, path):
    try:
        with open(os.path.join(root, path), encoding="utf-8") as f:
            lines = f.read().split("\n")
    except (UnicodeDecodeError, OSError):
        return  # binary, or a dangling link
    if path.endswith(CODE) and len(lines) > LINES_MAX + 1:
        yield f"{path}:{LINES_MAX}: {len(lines) - 1} lines; past {LINES_MAX} a file is two things"
    in_src = path.startswith("src/") and path.endswith((".c", ".h", ".cpp"))
    if in_src and path.split("/")[1] not in LAYERS:
        yield f"{path}:1: its folder is in no layer"
        in_src = False
    for number, line in enumerate(lines, 1):
        for host in REGISTRY_HOSTS:
            if host in line:
                yield f"{path}:{number}: names the registry host {host}"
        found = INCLUDE.match(line) if in_src else None
        if found:
            fault = check_include(path[4:], found[2], found[1] == '"')
            if fault:
                yield f"{path}:{number}: {fault}"


def faults(root):
    for path in sorted(our_files(root)):
        yield from check_file(root, path)


def main():
    found = list(faults(os.path.abspath(sys.argv[1])))
    for fault in found:
        print(fault)
    print(f"{len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
