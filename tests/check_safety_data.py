#!/usr/bin/env python3
"""Checks the corpus of the safety classifier: check_safety_data.py REPOSITORY [PUBLIC_SETS]

1. Every section has a known label, category, kind and form; brackets close, slots exist, and the texts can be written out.
2. No line stands twice, none under two labels, and no written-out text under two labels.
3. Every category of the guard has a policy, harmful lines and harmless neighbours.
4. What is forbidden: quantities, links, addresses and numbers of people, anatomy near minors, over-long harmful lines: a corpus
   that recognises requests needs no detail that could be used.
5. The talks of the test are labelled and well formed, and none of them stands in the corpus.
6. With PUBLIC_SETS (default: ../shared/data beside the repository, when it is there): no text shares eight words in a row with
   a text of these sets.

Prints each fault as path:line: what, never the text, and exits with 1 when there is any.
"""
import glob
import gzip
import json
import os
import re
import sys

CATEGORIES = ("hate", "harassment", "violence", "self_harm", "sexual", "sexual_minors", "illicit", "privacy", "prompt_injection",
              "jailbreak")
FORMS = ("act", "text", "answer", "pair", "dialog")
LINES_LEAST = 10
HARMFUL_WORDS_MOST = 180  # alternatives counted; a line has a handful of readings of ten to thirty words
FORBIDDEN = [
    (r"\d+(\.\d+)?\s?(g|mg|kg|ml|grams?|milligrams?|ounces?|degrees?|°c|percent|%)\b", "a quantity", "harmful"),
    (r"https?://(?![\w.-]*\.example\b)", "a link to a real host", "both"),
    (r"[\w.]+@(?![\w.-]*\.?example\b)[\w-]+\.(com|org|net|de|io)\b", "a real e-mail address", "both"),
    (r"\+?\d[\d -]{9,}\d", "a number like a phone's or an account's", "both"),
    (r"\b(acetone peroxide|tatp|petn|rdx|pseudoephedrine|red phosphorus|safrole|piperonal|phosgene|hexamine|detonator wiring)\b",
     "a precursor or a mechanism", "harmful"),
    (r"(?<!\w)(sudo |rm -rf|powershell -enc|nc -e|curl \S+ \| ?sh)", "a working command", "harmful"),
]
MINORS_FORBIDDEN = r"\b(penis|vagina|pussy|cock|breasts?|nipples?|clit|orgasm|panties|moan\w*|thrust\w*|cum|suck\w*|lick\w*)\b"


class Faults:
    def __init__(self):
        self.n = 0

    def add(self, path, line, what):
        print(f"{path}:{line}: {what}")
        self.n += 1


def words(text):
    return re.findall(r"[a-z0-9]+", text.lower())


def check_header(parts):
    if len(parts) < 4 or parts[0] not in ("harmful", "benign"):
        return "a header is: == harmful|benign CATEGORY KIND FORM [N] [nocontext]"
    category = parts[1].lstrip("~")
    if parts[0] == "harmful" and parts[1] != "*" and parts[1] not in CATEGORIES:
        return f"{parts[1]} is no category"
    if parts[0] == "benign" and parts[1] != "-" and (parts[1][0] != "~" or category not in CATEGORIES):
        return "a harmless section names its neighbour as ~category, or -"
    if parts[3] not in FORMS:
        return f"{parts[3]} is no form ({', '.join(FORMS)})"
    for more in parts[4:]:
        if not (more == "nocontext" or more.isdigit() and 0 < int(more) <= 1000):
            return f"{more}: expected a number of readings or nocontext"
    return None


def check_line(line, label, category, slots, special):
    if line.count("[") != line.count("]") or line.count("{") != line.count("}"):
        if "```" not in line and "printf" not in line and "{\\n" not in line:
            yield "brackets do not close"
    for name in re.findall(r"\{([a-z_0-9]+)\}", line):
        if name not in slots and name not in special:
            yield f"there is no slot {name}"
    for pattern, what, where in FORBIDDEN:
        if (where == "both" or label == "harmful") and re.search(pattern, line, re.I):
            yield f"holds {what}"
    if label == "harmful" and len(words(line)) > HARMFUL_WORDS_MOST:
        yield f"has more than {HARMFUL_WORDS_MOST} words"
    if category == "sexual_minors" and re.search(MINORS_FORBIDDEN, line, re.I):
        yield "has words that have no place near minors"


def check_files(root, grammar, special, faults):
    """Returns the number of lines of each (label, category)."""
    counts, seen = {}, {}
    for path in sorted(glob.glob(os.path.join(root, "data/safety/corpus/*.txt"))):
        name = os.path.relpath(path, root)
        if os.path.basename(path) in ("slots.txt", "frames.txt"):
            continue
        parts = None
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                line = line.rstrip("\n")
                if line.startswith("== "):
                    parts = line[3:].split()
                    wrong = check_header(parts)
                    if wrong:
                        faults.add(name, number, wrong)
                        parts = None
                    continue
                if not line or line.startswith("# "):
                    continue
                if parts is None:
                    faults.add(name, number, "stands under no header")
                    continue
                key = " ".join(words(line)) or line
                if key in seen and (key, parts[3]) in seen:
                    faults.add(name, number, f"stands already at {seen[key, parts[3]]}")
                seen[key] = seen[key, parts[3]] = f"{name}:{number}"
                for what in check_line(line, parts[0], parts[1], grammar.slots, special):
                    faults.add(name, number, what)
                counts[parts[0], parts[1].lstrip("~")] = counts.get((parts[0], parts[1].lstrip("~")), 0) + 1
    return counts


def check_coverage(root, counts, faults):
    path = "data/safety/POLICY.md"
    try:
        with open(os.path.join(root, path), encoding="utf-8") as f:
            policy = f.read()
    except OSError:
        policy = ""
    for c in CATEGORIES:
        if f"## {c}" not in policy:
            faults.add(path, 1, f"has no section '## {c}'")
        if counts.get(("harmful", c), 0) < LINES_LEAST:
            faults.add("data/safety/corpus", 1, f"has fewer than {LINES_LEAST} harmful lines of {c}")
        neighbour = "prompt_injection" if c == "jailbreak" else c  # they share their neighbours
        if counts.get(("benign", neighbour), 0) < LINES_LEAST:
            faults.add("data/safety/corpus", 1, f"has fewer than {LINES_LEAST} harmless neighbours of {neighbour}")


def check_talks(root, faults):
    """The talks of the test: labelled, unlike each other, as many harmless as harmful ones, and nothing that is forbidden."""
    path, seen, labels = "data/safety/talks.jsonl", set(), []
    with open(os.path.join(root, path), encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            row = json.loads(line)
            text = row["context"] + "\n" + row["text"]
            labels.append(row["harmful"])
            if text in seen:
                faults.add(path, number, "stands twice")
            seen.add(text)
            if not row["context"] or bool(row["harmful"]) != bool(row["categories"]) or not set(row["categories"]) <= set(CATEGORIES):
                faults.add(path, number, "has no context, or categories that do not fit its label")
            for what in check_line(text, "harmful" if row["harmful"] else "benign", (row["categories"] or [""])[0], (), ()):
                faults.add(path, number, what)
    if sum(labels) * 2 != len(labels):
        faults.add(path, 1, "has not as many harmless talks as harmful ones")
    return seen


def check_texts(records, faults):
    labels = {}
    for r in records:
        key = " ".join(words(r["text"]))
        if key and labels.setdefault(key, r["harmful"]) != r["harmful"]:
            faults.add("data/safety/corpus/" + r["group"].split(":")[0], r["group"].split(":")[1], "a text stands under two labels")


def public_texts(folder):
    for path in glob.glob(os.path.join(folder, "**", "*.jsonl*"), recursive=True):
        with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as f:
            for line in f:
                row = json.loads(line)
                for field in ("text", "turns"):
                    value = row.get(field)
                    yield from value if isinstance(value, list) else [value] if isinstance(value, str) else []


def check_overlap(records, folder, faults):
    ours = {}
    for r in records:
        w = words(r["text"])
        for i in range(len(w) - 7):
            ours.setdefault(hash(tuple(w[i:i + 8])), r["group"])
    reported = set()
    for text in public_texts(folder):
        w = words(text)
        for i in range(len(w) - 7):
            group = ours.get(hash(tuple(w[i:i + 8])))
            if group and group not in reported:
                reported.add(group)
                faults.add("data/safety/corpus/" + group.split(":")[0], group.split(":")[1],
                           "shares eight words in a row with a public set")


def main():
    root = os.path.abspath(sys.argv[1])
    shared = sys.argv[2] if len(sys.argv) > 2 else os.path.join(os.path.dirname(root), "shared", "data")
    sys.path.insert(0, os.path.join(root, "tools", "safety"))
    import corpus
    folder = os.path.join(root, "data", "safety", "corpus")
    faults = Faults()
    grammar = corpus.Grammar(folder)
    special = {"ask_harm", "act_harm", "acting_harm", "harm_echo", "ask_benign"}
    check_coverage(root, check_files(root, grammar, special, faults), faults)
    talks = check_talks(root, faults)
    if not faults.n:
        records = corpus.write_out(folder)
        check_texts(records, faults)
        for r in records:
            if r["text"] in talks:
                faults.add("data/safety/corpus/" + r["group"].split(":")[0], r["group"].split(":")[1], "stands in talks.jsonl")
        if os.path.isdir(shared):
            check_overlap(records, shared, faults)
        print(f"{len(records)} texts, {sum(r['harmful'] for r in records)} harmful")
    print(f"{faults.n} faults")
    sys.exit(1 if faults.n else 0)


if __name__ == "__main__":
    main()
