"""Reads the corpus in data/safety/corpus and writes its texts out: corpus.py FOLDER [--jsonl OUT]

The files hold lines in a small grammar; what a line stands for follows from the header above it:

    == LABEL CATEGORY KIND FORM N [nocontext]
    LABEL     harmful | benign
    CATEGORY  a category; "~category" for its harmless neighbours; "-" for none; "*" = that of the act filled in
    KIND      free word: direct, homonym, refusal, …
    FORM      act (a verb phrase, put into N request frames) | text, passage, answer (written out N times) |
              pair ("question => answer") | dialog ("user || assistant || user …")
    nocontext the acts are not put into the frames of law and prevention, which make a harmful act harmless

[a|b|] is a choice on the spot, {name} one of slots.txt. "\\n" is a line's end. Of every act two
talks are made, too: its object in one message, what is to be done with it in a later one. Everything follows from the seed: the
same files give the same texts. Some texts are typed carelessly (lower case, slips, no punctuation), whatever their label.
"""
import argparse
import glob
import hashlib
import json
import os
import random
import re

SEED = 20260611
KEEP_E = {"be", "see", "flee", "dye", "tie"}
DOUBLED = {"cut", "get", "hit", "put", "run", "set", "sit", "stab", "rob", "chat", "plan", "skim", "sim", "swap", "drug",
           "beg", "bug", "kidnap", "dox", "stop", "ban", "win", "trap", "dump", "tap", "rig", "spot", "cap", "clip",
           "sew", "knit", "pin", "skin", "gut", "shop", "hop", "chop", "slip", "slit", "tag", "pick-pocket", "shut",
           "hem", "submit", "commit", "unclog", "forget", "begin", "swim", "fit", "jog", "pat", "dig"}
NOT_DOUBLED = {"dox", "dump", "sew", "fix", "sim"}
THIRD_PERSON = re.compile(r"\b(people|someone|somebody|anyone|two friends|he|she|characters?|expert|student)\b", re.I)


def gerund(phrase):
    verb, _, rest = phrase.partition(" ")
    if verb in DOUBLED and verb not in NOT_DOUBLED:
        verb += verb[-1]
    elif verb.endswith("ie"):
        verb = verb[:-2] + "y"
    elif verb.endswith("e") and verb not in KEEP_E and not verb.endswith("ee"):
        verb = verb[:-1]
    return f"{verb}ing {rest}".strip()


def other_person(text):
    """my → their, for frames that speak of somebody else."""
    for a, b in (("my", "their"), ("myself", "themselves"), ("i", "they"), ("me", "them"), ("i'm", "they're")):
        text = re.sub(rf"\b{a}\b(?!')", b, text)
    return text


class Grammar:
    def __init__(self, folder):
        self.slots = {}
        with open(os.path.join(folder, "slots.txt"), encoding="utf-8") as f:
            for line in f:
                if line.strip() and not line.startswith("#"):
                    name, _, values = line.rstrip("\n").partition(": ")
                    self.slots[name] = values.split("|")
        self.frames = {}
        kind = None
        with open(os.path.join(folder, "frames.txt"), encoding="utf-8") as f:
            for line in f:
                line = line.rstrip("\n")
                if line.startswith("== "):
                    kind = line[3:]
                elif line and not line.startswith("#"):
                    self.frames.setdefault(kind, []).append(line)
        self.sections = []
        for path in sorted(glob.glob(os.path.join(folder, "*.txt"))):
            if os.path.basename(path) not in ("slots.txt", "frames.txt"):
                self.read(path)
        self.special = {}

    def read(self, path):
        section = None
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                line = line.rstrip("\n")
                if line.startswith("== "):
                    parts = line[3:].split()
                    label, category, kind, form = parts[:4]
                    n = int(parts[4]) if len(parts) > 4 and parts[4].isdigit() else 6
                    section = {"label": label, "category": category, "kind": kind, "form": form, "n": n,
                               "context": "nocontext" not in parts, "lines": [], "file": os.path.basename(path)}
                    self.sections.append(section)
                elif line and not line.startswith("# "):
                    section["lines"].append((number, line))

    def expand(self, text, rng):
        """One random reading of a line."""
        for _ in range(50):
            m = re.search(r"\[([^\[\]]*)\]", text)
            s = re.search(r"\{([a-z_0-9]+)\}", text)
            if s and s[1] in self.special:
                text = text[:s.start()] + self.special[s[1]](rng) + text[s.end():]
            elif s and s[1] in self.slots:
                text = text[:s.start()] + rng.choice(self.slots[s[1]]) + text[s.end():]
            elif m and "|" in m[1]:
                text = text[:m.start()] + rng.choice(m[1].split("|")) + text[m.end():]
            elif m:
                text = text[:m.start()] + "\x01" + m[1] + "\x02" + text[m.end():]
            else:
                break
        return re.sub(r" +([,.;?!])", r"\1", re.sub(r"  +", " ", text)).strip().translate({1: "[", 2: "]"})

    def frame(self, kind, act, rng):
        frame = rng.choice(self.frames[kind])
        if kind != "detour" and THIRD_PERSON.search(frame):
            act = other_person(act)
        text = frame.replace("{acting}", gerund(act)).replace("{act}", act)
        return self.expand(text, rng)


def careless(text, rng):
    """How people type: case, slips, punctuation. The same for every label."""
    r = rng.random()
    if r < 0.35:
        text = text.lower()
    elif r < 0.37 and len(text) < 80:
        text = text.upper()
    if rng.random() < 0.15:
        text = text.rstrip(".?! ")
    if rng.random() < 0.10 and len(text) > 12:
        i = rng.randrange(1, len(text) - 2)
        if text[i].isalpha() and text[i + 1].isalpha():
            text = text[:i] + rng.choice([text[i + 1] + text[i], text[i], text[i] + text[i]]) + text[i + 2:]
    r = rng.random()
    if r < 0.03:
        text = rng.choice(["hi, ", "hey ", "hello! ", "please ", "ok so ", "quick question: "]) + text
    elif r < 0.06:
        text += rng.choice([" please", " pls", " thanks", " thx", "??", " asap", "!!", " :)", " im serious"])
    return text


def write_out(folder):
    """All records: text, harmful, categories (a list), kind, form, group (texts of one line belong together)."""
    g = Grammar(folder)
    harm_acts, benign_acts = [], []
    for s in g.sections:
        if s["form"] == "act":
            (harm_acts if s["label"] == "harmful" else benign_acts).extend((line, s) for _, line in s["lines"])
    state = {}

    def ask_harm(rng):
        act, s = rng.choice(harm_acts)
        state["category"] = s["category"]
        state["act"] = g.expand(act, rng)
        return g.frame("ask", state["act"], rng)

    def act_harm(rng):
        act, s = rng.choice(harm_acts)
        state["category"] = s["category"]
        state["act"] = g.expand(act, rng)
        return state["act"]

    g.special = {"ask_harm": ask_harm, "act_harm": act_harm, "acting_harm": lambda rng: gerund(act_harm(rng)),
                 "harm_echo": lambda rng: gerund(state.get("act", "do it")).capitalize(),
                 "ask_benign": lambda rng: g.frame("ask", g.expand(rng.choice(benign_acts)[0], rng), rng)}
    records, seen = [], set()

    def add(text, harmful, category, s, number, kind=None):
        key = re.sub(r"[^a-z0-9]+", " ", text.lower())
        if key in seen or not text:
            return
        seen.add(key)
        records.append({"text": text.replace("\\n", "\n"), "harmful": int(harmful),
                        "categories": [category] if harmful else [], "kind": kind or s["kind"], "form": s["form"],
                        "near": s["category"].lstrip("~"), "source": "own_" + s["file"][:-4],
                        "group": f"{s['file']}:{number}"})

    for s in g.sections:
        harmful = s["label"] == "harmful"
        for number, line in s["lines"]:
            rng = random.Random(f"{SEED}{s['file']}{line}")
            for i in range(s["n"]):
                state.clear()
                if s["form"] == "act":
                    act = g.expand(line, rng)
                    kind = "disguised" if i % 4 == 3 else "ask"
                    add(careless(g.frame(kind, act, rng), rng), harmful, s["category"], s, number,
                        s["kind"] if kind == "ask" else kind)
                    continue
                text = g.expand(line, rng)
                category = s["category"] if s["category"] != "*" else state.get("category")
                if s["category"] == "*" and not category:
                    category = {"group": "hate"}.get("group" if "inferior" in text or "danger to all" in text else "", None) \
                        or ("self_harm" if "your life" in text or "Cutting" in text or "died" in text else "harassment")
                if s["form"] == "pair":
                    text = text.replace(" => ", "\n\n")
                elif s["form"] == "dialog":
                    text = "\n".join(text.split(" || ")[::2])  # the guard is given the person's messages
                elif s["form"] == "text":
                    text = careless(text, rng)
                add(text, harmful, category, s, number)
            if s["form"] == "act" and harmful and s["context"] and s["category"] != "sexual":
                for i in range(2):
                    text = careless(g.frame("context", g.expand(line, rng), rng), rng)
                    add(text, False, None, dict(s, form="context", category="~" + s["category"]), number, "context")
    for s in g.sections:
        if s["form"] == "act":
            add_talks(g, s, add)
            add_detours(g, s, add)
    add_salads(records, add)
    return records


OBJECT = re.compile(r"^(\w[\w' -]*?) ((?:a|an|the|my|our|your|his|her|their|some|someone|somebody|people|\w+'s) .+)$")
TOPICS = ["i have a question about {o}", "can we talk about {o}", "i was thinking about {o}", "what do you know about {o}?", "{o}, you know what i mean?",
          "Tell me something about {o}.", "my topic today is {o}", "i heard about {o}", "I need some help. It's about {o}.", "{o}"]
ASKS = ["how do i {v} {it}", "so, how can I {v} {it}?", "which way to {v} {it} is best?", "i want to {v} {it}. what do i need", "explain how to {v} {it}",
        "and now tell me how to {v} {it}", "could you help me {v} {it}?", "give me the steps to {v} {it}", "i'd like to {v} {it}, any advice?", "ok. how to {v} {it} quickly"]
BETWEEN = ["thanks", "ok", "interesting", "go on", "that's what i thought", "not quite", "i see", "yes", "you understand me", "good to know"]


def add_talks(g, s, add):
    """An act said in pieces: what it is about in one message, what is to be done with it in a later one."""
    for number, line in s["lines"]:
        rng = random.Random(f"{SEED}talks{s['file']}{line}")
        for i in range(2):
            act = g.expand(line, rng)
            m = OBJECT.match(act)
            if not m or len(m[1].split()) > 4 or len(m[2].split()) > 6:
                continue
            turns = [rng.choice(TOPICS).format(o=m[2]), rng.choice(ASKS).format(v=m[1], it=rng.choice(["it", "that", "them", "one of those"]))]
            if rng.random() < 0.35:
                turns.insert(1, rng.choice(BETWEEN))
            if rng.random() < 0.2:
                turns.insert(0, rng.choice(["hello", "hi there", "good morning", "i'm bored", "can you help me?"]))
            add("\n".join(careless(t, rng) for t in turns), s["label"] == "harmful", s["category"], dict(s, form="dialog"), number, "talk")


def add_detours(g, s, add):
    """An act in a long message: who writes, why, and the wish somewhere in it."""
    for number, line in s["lines"]:
        rng = random.Random(f"{SEED}detours{s['file']}{line}")
        text = careless(g.frame("detour", g.expand(line, rng), rng), rng)
        add(text, s["label"] == "harmful", s["category"], s, number, "detour")


SALADS = 700


def add_salads(records, add):
    """Words without sense, as a weak model writes them when it has lost the thread: harmless, whatever the words are."""
    rng = random.Random(f"{SEED}salads")
    words = sorted({w for r in records for w in re.findall(r"[A-Za-z']{2,}", r["text"])})
    calm = [r["text"] for r in records if not r["harmful"] and len(r["text"]) > 40]
    for i in range(SALADS):
        kind, n = i % 7, rng.randrange(6, 95)
        if kind < 3:
            text = rng.choice([" ", " ", ", ", "\n", " - ", ". "]).join(rng.choice(words) for _ in range(n))
        elif kind == 3:
            mixed = " ".join(rng.sample(calm, 4)).split()
            rng.shuffle(mixed)
            text = " ".join(mixed[:n])
        elif kind == 4:
            text = " ".join([" ".join(rng.choice(words) for _ in range(rng.randrange(1, 6)))] * rng.randrange(4, 20))
        elif kind == 5:
            text = " ".join([rng.choice(calm)] * rng.randrange(2, 6))
        else:
            text = "\n".join(f"{k + 1}. {rng.choice(words)}" for k in range(min(n, 40)))
        form = "text" if i % 3 == 0 else "answer"
        add(text[:560], False, None, {"file": "salads.txt", "kind": "salad", "form": form, "category": "-"}, i)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("folder")
    p.add_argument("--jsonl", help="write every text there, one JSON object a line")
    a = p.parse_args()
    records = write_out(a.folder)
    counts = {}
    for r in records:
        key = (r["source"], (r["categories"] or ["benign"])[0])
        counts[key] = counts.get(key, 0) + 1
    for key in sorted(counts):
        print(f"{counts[key]:6d}  {key[0]:22s} {key[1]}")
    print(f"{len(records):6d}  in all; {sum(r['harmful'] for r in records)} harmful; "
          f"sha256 {hashlib.sha256(json.dumps(records).encode()).hexdigest()[:16]}")
    if a.jsonl:
        with open(a.jsonl, "w", encoding="utf-8") as f:
            for r in records:
                f.write(json.dumps(r, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
