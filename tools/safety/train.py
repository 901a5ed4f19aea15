#!/usr/bin/env python3
"""Trains and measures the guard's classifier; see docs/safety-model-card.md.

    train.py --model FOLDER --shared FOLDER [--cache FOLDER] loo [SOURCE…]   leave one source out: the table of the model card
    train.py …                                              policy           what the default policy blocks of unseen sources
    train.py …                                              final OUT.bin    train on everything, calibrate, write the model

FOLDER of --model holds the published all-MiniLM-L6-v2 (tokenizer.json, model.safetensors); --shared is the folder of the public
sets. Needs numpy, scikit-learn, jax, tokenizers and safetensors. Prints counts and measures, never a text.
"""
import argparse
import hashlib
import json
import os
import re
import struct
import sys
import time

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

import bounds
import data
import deep
import features
import model
import vocabulary
from minilm import Embedder

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
POLICY = os.path.join(ROOT, "src", "safety", "policy.json")
SCALE = 16.0  # embeddings are of length 1; their numbers become about 1 with this, and the weights take it back at the end
HARMFUL = model.HEADS.index("harmful")
MODES = 3
MODE_NAMES = ("without embedding", "with embedding", "with embedding and layers")
VOCABULARY = 0.3  # what a text of the vocabulary counts, beside one of ours
START = time.time()


def log(text):
    print(f"[{time.time() - START:6.1f} s] {text}", file=sys.stderr, flush=True)


def targets(rows):
    """What the rows teach: flags, labels of the heads, which of them are known, weights of the rows and of their labels."""
    n = len(rows)
    flags = np.array([[1, *r["flags"]] for r in rows], np.float32)
    labels, known = np.zeros((n, len(model.HEADS)), np.float32), np.ones((n, len(model.HEADS)), np.float32)
    for i, r in enumerate(rows):
        for j, c in enumerate(model.HEADS):
            value = {"harmful": r["harmful"], "prompt_injection": r["injection"], "jailbreak": r["jailbreak"]}.get(
                c, None if r["categories"] is None else int(c in r["categories"]))
            known[i, j] = value is not None
            labels[i, j] = value or 0
    # A category's few positive rows count more, up to eight times.
    boost = np.clip(4000 / np.maximum((labels * known).sum(0), 1), 1, 8)
    boost[HARMFUL] = 1
    row_weights = data.weights(rows)
    weights = known * np.array(row_weights, np.float32)[:, None] * (1 + labels * (boost - 1))
    weights[:, HARMFUL] *= 3
    return flags, labels, known, row_weights, weights


class Set:
    def __init__(self, a):
        self.rows = data.load(a.corpus, a.shared)
        log(f"{len(self.rows)} rows")
        self.embedder = Embedder(a.model, a.cache)
        self.net = a.net
        self.embedding = self.embedder.embed([r["text"] for r in self.rows], log) * SCALE
        self.bags = model.Bags([r["text"] for r in self.rows])
        self.flags, self.labels, self.known, self.row_weights, self.weights = targets(self.rows)
        self.source = np.array([r["source"] for r in self.rows])
        self.split = np.array([r["split"] for r in self.rows])
        log("features ready")

    def train(self, rows):
        rows = np.asarray(rows)
        nets = [model.train(n, self.bags, self.embedding, self.flags, self.labels, self.weights, rows) for n in model.NETS[:-1]]
        log("taught with embedding")
        nets.append(self.train_words(nets, rows))
        return nets + [deep.Deep(self.net)]

    def train_words(self, teachers, rows):
        """The net of words alone, on the rows and on what the others think of the encoder's vocabulary."""
        known = vocabulary.words(self.embedder.tokenizer)
        texts = vocabulary.first(known)
        texts += vocabulary.more(known, self.thought_of(teachers, texts)[:, HARMFUL])
        thought = self.thought_of(teachers, texts)
        log(f"{len(texts)} texts of the vocabulary")
        n, m = len(self.rows), len(texts)
        bags = model.Bags(texts)
        bags.ids, bags.scale = self.bags.ids + bags.ids, self.bags.scale + bags.scale
        weights = np.full((m, len(model.HEADS)), VOCABULARY, np.float32)
        weights[:, HARMFUL] *= 3
        return model.train(model.NETS[-1], bags, np.broadcast_to(np.zeros(model.EMBEDDING, np.float32), (n + m, model.EMBEDDING)),
                           np.concatenate([self.flags, np.array(vocabulary.flags(m), np.float32)]),
                           np.concatenate([self.labels, thought]), np.concatenate([self.weights, weights]),
                           np.concatenate([rows, np.arange(n, n + m)]))

    def thought_of(self, teachers, texts):
        """Probabilities, by the nets that read the embedding."""
        e = self.embedder.embed(texts, log) * SCALE
        f, bags, rows = np.array(vocabulary.flags(len(texts)), np.float32), model.Bags(texts), np.arange(len(texts))
        nets = model.NETS[:-1]
        logits = sum(n.share * model.predict(n, p, bags, e, f, rows) for n, p in zip(nets, teachers)) / sum(n.share for n in nets)
        return (1 / (1 + np.exp(-logits))).astype(np.float32)

    def harm(self, params, rows, mode=1):
        """Logits. mode: 0 without embedding, 1 with it, 2 with the layers, too; params: as train() gives them."""
        out = model.predict_nets(params[:len(model.NETS)], self.bags, self.embedding, self.flags, np.asarray(rows), bool(mode))
        if mode == 2:
            out = (1 - deep.NET.share) * out + deep.NET.share * params[-1].logits(rows)
        return out


# ---- calibration ----

# The share of positive texts for which the probabilities are right. Attacks on the assistant are rare, and so are few categories.
BASE_RATE = {"harmful": 0.4, "prompt_injection": 0.02, "jailbreak": 0.04}

WITHOUT = 0.6  # of it without an embedding: hashed words alone err more on what they never saw, so they must be surer

LAYERS = 0.89  # of it with the layers, so that at most 5 % of our look-alikes that were kept apart are blocked


def calibrate(logits, labels, weights, rate=BASE_RATE["harmful"]):
    """a and b so that sigmoid(a logit + b) is a probability at that base rate (Platt 1999), a > 0."""
    from sklearn.linear_model import LogisticRegression
    if weights.sum() == 0 or labels[weights > 0].min() == labels[weights > 0].max():
        return 1.0, 0.0
    keep = weights > 0
    part = weights[keep & (labels == 1)].sum() / weights[keep].sum()
    weights = weights * np.where(labels == 1, rate / part, (1 - rate) / (1 - part))
    lr = LogisticRegression(C=10.0).fit(logits[keep, None], labels[keep], sample_weight=weights[keep])
    return max(float(lr.coef_[0, 0]), 0.05), float(lr.intercept_[0])


def calibration_weights(s, rows):
    """Sources alike; posts, whose labels are another matter than requests, count little."""
    n = {x: (s.source[rows] == x).sum() for x in set(s.source[rows])}
    return np.array([(0.1 if s.source[i] in ("edos", "hatemoji", "identity_templates", "davidson") else 1.0) *
                     min(1.0, 150 / n[s.source[i]]) for i in rows])


def calibration(s, params, rows):
    """[mode][head][a, b]"""
    out = np.zeros((MODES, len(model.HEADS), 2), np.float32)
    for mode in range(MODES):
        logits = s.harm(params, rows, mode)
        for j in range(len(model.HEADS)):
            known = s.known[rows, j] > 0
            base = calibration_weights(s, rows)
            rate = BASE_RATE.get(model.HEADS[j], 0.15) * (WITHOUT, 1, LAYERS)[mode]
            out[mode, j] = calibrate(logits[:, j], s.labels[rows, j], base * known, rate)
    return out


# ---- the model file (src/safety/classifier.h) ----

def quantise(nets):
    """The weights as the file has them: the table in 8 bits, the rest with the embedding's scale taken back."""
    params = model.merge(nets[:len(model.NETS)])
    table = params["table"]
    row_scale = (np.abs(table).max(0) / 127).astype("<f4")
    q = np.clip(np.round(table / row_scale), -127, 127).astype(np.int8)
    w1, w3 = (np.array(params[k], np.float32) for k in ("w1", "w3"))
    w1[:model.EMBEDDING] *= SCALE
    w3[:model.EMBEDDING] *= SCALE
    return {"row_scale": row_scale, "table": q, "w1": w1, "b1": np.asarray(params["b1"]), "w2": np.asarray(params["w2"]), "w3": w3,
            "b2": np.asarray(params["b2"])}


def write_model(path, q, layers, cal, name):
    out = b"PARLEYG1" + struct.pack("<6I", 2, features.BITS, q["table"].shape[1], model.EMBEDDING, len(q["b1"]), len(model.HEADS))
    out += name.encode().ljust(32, b"\0") + b"".join(h.encode().ljust(24, b"\0") for h in model.HEADS)
    for key in ("row_scale", "table", "w1", "b1", "w2", "w3", "b2"):
        out += q[key].astype(np.int8 if key == "table" else "<f4").tobytes()
    out += cal[:2].astype("<f4").tobytes() + deep.section(layers, cal[2])
    out += hashlib.sha256(out).digest()
    with open(path, "wb") as f:
        f.write(out)
    log(f"{path}: {len(out)} bytes")


def reference(q, text, embedding, flags):
    """The logits as the program computes them, in 64 bits."""
    a, b = features.buckets(text)
    z = sum((q["table"][i].astype(np.int64).sum(0) * q["row_scale"].astype(float) / np.sqrt(len(i)) for i in (a, b) if len(i)),
            np.zeros(len(q["row_scale"])))
    x = np.concatenate([embedding, z, flags])
    return np.maximum(x @ q["w1"] + q["b1"], 0) @ q["w2"] + x @ q["w3"] + q["b2"]


CHECKS = ["", "hello", "How do I sharpen a kitchen knife?", "  What's   the CAPITAL of France?! ", "ein schöner Tag für Größe",
          "東京でおすすめの場所は?", "kill a process that hangs", "a b c d e f g", "don't-stop_me now 42 x2", "?!... \n\t",
          "Ignore the footnotes and summarise the text above in three sentences.", "word " * 300]


def write_checks(path, q, layers):
    """Texts with the logits that src/safety/classifier.c must give; the embedding and the layers of row i are a formula of i."""
    with open(path, "w", encoding="utf-8") as f:
        for i, text in enumerate(CHECKS):
            for direction, flags in (("input", (0, 0)), ("output", (1, 0)), ("passage", (0, 1))):
                has = (i + len(direction)) % 2
                row = np.sin(np.arange(len(layers["v1"]) - 2) * 0.37 + i) * 0.07 * has
                logits = reference(q, text, row[:model.EMBEDDING], [has, *flags])
                deeper = has and i % 3 != 0
                if deeper:
                    logits = deep.reference(layers, logits, row, flags)
                f.write(json.dumps({"text": text, "direction": direction, "embedding": i if has else None, "layers": bool(deeper),
                                    "logits": [round(float(x), 4) for x in logits]}, ensure_ascii=False) + "\n")


def final(a, s):
    train_rows, dev = np.where(s.split == "train")[0], np.where(s.split == "dev")[0]
    params = s.train(train_rows)
    cal = calibration(s, params, dev)
    at_policy(s, params, cal, dev, dev)
    q, layers = quantise(params), params[-1].quantise()
    write_model(a.out, q, layers, cal, a.name)
    write_checks(os.path.splitext(a.out)[0] + "-check.jsonl", q, layers)


# ---- at the default policy ----

EVERYDAY = ("mt_bench", "self_instruct_user", "nq_open_dev")


# What of the red-team sets asks plainly for harm, by their own categories (docs/safety-model-card.md says why).
PLAIN = {"catqa": set(data.HARM), "donotanswer": {"illicit", "violence", "sexual", "harassment"},
         "ailuminate_demo": {"violence", "illicit", "sexual_minors", "self_harm", "hate", "privacy"}}


def is_plain(s, rows):
    return np.array([bool(PLAIN.get(s.source[i], set()) & (s.rows[i]["categories"] or set())) for i in rows])


def is_own(s, rows):
    return np.array([s.source[i].startswith("own_") for i in rows])


def kinds_of(s, rows):
    """Masks of rows: what is measured apart."""
    y, known = s.labels[rows, HARMFUL] == 1, s.known[rows, HARMFUL] > 0
    answer = s.flags[rows, 1] > 0
    near = np.array([s.rows[i].get("near", "-") != "-" or s.rows[i].get("kind") == "wrapped" for i in rows])
    return {"harmful": known & y & ~answer, "harmless": known & ~y & ~answer & ~near, "look-alikes": known & ~y & ~answer & near,
            "harmful answers": known & y & answer, "harmless answers": known & ~y & answer}


def at_policy(s, params, cal, rows, choose_on):
    """Prints what the default policy blocks of rows, and the bounds that would be chosen on others."""
    limits = bounds.policy_bounds(POLICY), bounds.policy_bounds(POLICY, "output")
    sources, own, lines = s.source[rows], is_own(s, rows), np.array([s.rows[i]["group"] for i in rows])
    for mode in reversed(range(MODES)):
        doubt = 0.0 if mode else bounds.ANSWER_DOUBT * (s.flags[rows, 1] > 0)
        score = bounds.scores(cal[mode], s.harm(params, rows, mode), doubt)
        hit = np.where(s.flags[rows, 1] > 0, bounds.blocked(score, limits[1]), bounds.blocked(score, limits[0]))
        print(f"{MODE_NAMES[mode]}, blocked at the default policy (own look-alikes: each line counts once):")
        masks = kinds_of(s, rows)
        for source in ["own", *sorted(set(sources[~own]))]:
            of = own if source == "own" else sources == source
            for what, m in masks.items():
                if (m & of).sum() >= 8:
                    share = bounds.by_line(m & of, lines)[hit].sum() if what == "look-alikes" else hit[m & of].mean()
                    print(f"  {source:20s} {what:17s} {100 * share:5.1f} % of {(m & of).sum()}")
        plain = is_plain(s, rows) & masks["harmful"]
        for source in PLAIN:
            if (plain & (sources == source)).any():
                print(f"  {source:20s} plainly harmful   {100 * hit[plain & (sources == source)].mean():5.1f} % of {(plain & (sources == source)).sum()}")
        for c, name in enumerate(model.CATEGORIES[:bounds.HARMS]):
            m = (s.labels[rows, c] == 1) & (s.known[rows, c] > 0) & (s.flags[rows, 1] == 0)
            for what, part in (("own", m & own), ("public", m & ~own)):
                if part.any():
                    print(f"  {name:20s} {what:17s} {100 * hit[part].mean():5.1f} % of {part.sum()}")
    streamed(s, params, cal, rows)
    choose_bounds(s, params, cal, choose_on)


def streamed(s, params, cal, rows):
    """Answers as a stream is judged: again after each word, without embedding; one score at the bound ends it."""
    limits, masks = bounds.policy_bounds(POLICY, "output"), kinds_of(s, rows)
    for what in ("harmful answers", "harmless answers"):
        texts = [s.rows[i]["text"].split("\n\n", 1)[-1] if s.rows[i].get("form") == "pair" else s.rows[i]["text"] for i in rows[masks[what]]]
        cuts = [(k, t[:m.end()]) for k, t in enumerate(texts) for m in re.finditer(r"\S+", t)]
        of, n = np.array([k for k, _ in cuts], int), len(cuts)
        logits = model.predict(model.NETS[-1], params[len(model.NETS) - 1], model.Bags([c for _, c in cuts]), np.zeros((n, model.EMBEDDING), np.float32),
                               np.tile(np.array([[0, 1, 0]], np.float32), (n, 1)), np.arange(n))
        for doubt in (0.0, bounds.ANSWER_DOUBT):
            ended = set(of[bounds.blocked(bounds.scores(cal[0], logits, doubt), limits)])
            print(f"  streamed, doubt {doubt:.1f}   {what:17s} {100 * len(ended) / max(len(texts), 1):5.1f} % of {len(texts)}")


def choose_bounds(s, params, cal, rows):
    masks, lines = kinds_of(s, rows), np.array([s.rows[i]["group"] for i in rows])
    daily = masks["harmless"] & (is_own(s, rows) | np.isin(s.source[rows], EVERYDAY))
    picked = bounds.choose(bounds.scores(cal[2], s.harm(params, rows, 2)), calibration_weights(s, rows) * masks["harmful"],
                           [(bounds.by_line(masks["look-alikes"], lines), 0.045), (bounds.by_line(daily, lines), 0.008)])
    print("bounds chosen:", ", ".join(f"{c} {b:.2f}" for c, b in zip(model.CATEGORIES, picked)))


def policy(a, s):
    """The same with the sources of UNSEEN left out of training, calibration and choice."""
    away = np.isin(s.source, UNSEEN)
    train_rows, dev = np.where(~away & (s.split == "train"))[0], np.where(~away & (s.split == "dev"))[0]
    rows = np.where((away | (s.split == "dev")) & (s.known[:, HARMFUL] > 0))[0]
    params = s.train(train_rows)
    at_policy(s, params, calibration(s, params, dev), rows, dev)


# ---- leave one source out ----

BLOCK = 0.8  # the default policy's bound for a block
FOLDS = {"questions that ask for harm": ("catqa", "harmfulqa", "dangerousqa", "donotanswer", "ailuminate_demo", "hh_rlhf_harmless"),
         "hate in posts": ("edos", "davidson", "hatemoji", "identity_templates"),
         "comments": ("wiki_talk", "surge_toxicity"),
         "mixed": ("surge_toxicity", "wiki_talk", "ailuminate_demo", "donotanswer", "mitre_frr", "self_instruct_user", "mt_bench",
                   "nq_open_dev")}
UNSEEN = FOLDS["mixed"] + ("catqa",)
SINGLE = ("donotanswer", "ailuminate_demo", "catqa", "mitre_frr", "self_instruct_user", "nq_open_dev", "mt_bench", "surge_toxicity", "wiki_talk",
          "harmfulqa", "dangerousqa", "davidson", "edos")


def baseline(s, train_rows, rows):
    """Probabilities of plain TF-IDF + logistic regression, trained on the public sets alone."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    train_rows = [i for i in train_rows if s.known[i, HARMFUL] and not s.source[i].startswith("own_")]
    v = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, max_features=100000)
    x = v.fit_transform([s.rows[i]["text"] for i in train_rows])
    lr = LogisticRegression(C=4.0, class_weight="balanced", max_iter=300).fit(x, s.labels[train_rows, HARMFUL])
    return lr.predict_proba(v.transform([s.rows[i]["text"] for i in rows]))[:, 1]


def probabilities(s, params, dev, rows, mode=1):
    base = calibration_weights(s, dev) * s.known[dev, HARMFUL]
    a, b = calibrate(s.harm(params, dev, mode)[:, HARMFUL], s.labels[dev, HARMFUL], base)
    return 1 / (1 + np.exp(-(a * s.harm(params, rows, mode)[:, HARMFUL] + b)))


def measures(y, p, bound):
    part = lambda m: f"{100 * (p[m] >= bound).mean():5.1f} %" if m.any() else "      –"
    both = 0 < y.sum() < len(y)
    return (f"{part(y == 1)} | {part(y == 0)} | " + (f"{average_precision_score(y, p):.3f} | {roc_auc_score(y, p):.3f}" if both
                                                   else "– | –"))


def leave_out(a, s):
    folds = {x: (x,) for x in SINGLE} | FOLDS if not a.sources else {x: FOLDS.get(x, (x,)) for x in a.sources}
    print("| left out | rows | recall | false positives | AUPRC | AUROC | TF-IDF+LR: recall | false positives | AUPRC | AUROC |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, out in folds.items():
        away = np.isin(s.source, out)
        train_rows, dev = np.where(~away & (s.split == "train"))[0], np.where(~away & (s.split == "dev"))[0]
        dev = dev[s.source[dev] != "mt_bench"]
        rows = np.where(away & (s.known[:, HARMFUL] > 0))[0]
        params = s.train(train_rows)
        y = s.labels[rows, HARMFUL]
        line = f"| {name} | {len(rows)} | {measures(y, probabilities(s, params, dev, rows), BLOCK)} | "
        line += measures(y, baseline(s, train_rows, rows), 0.5) if a.baseline else "| | |"
        print(line + " |", flush=True)
    own(a, s)


def own(a, s):
    """Lines of our own corpus that were kept apart, with and without embedding."""
    train_rows, dev = np.where(s.split == "train")[0], np.where(s.split == "dev")[0]
    params = s.train(train_rows)
    kept = np.array([i for i in dev if s.source[i].startswith("own_") and s.known[i, HARMFUL]])
    kinds = {}
    for i in kept:
        r = s.rows[i]
        kinds.setdefault(("harmful " if r["harmful"] else "benign ") + f"{r['near']}", []).append(i)
    print("\n| own lines kept apart | rows | blocked | without embedding |\n|---|---|---|---|")
    for kind, rows in sorted(kinds.items()):
        both = [f"{100 * (probabilities(s, params, dev, rows, m) >= BLOCK).mean():5.1f} %" for m in (2, 0)]
        print(f"| {kind} | {len(rows)} | {both[0]} | {both[1]} |")
    for j in (8, 9):
        for mode in (2, 0):
            logit = s.harm(params, dev, mode)[:, j]
            k = s.known[dev, j] > 0
            y = s.labels[dev, j]
            print(f"{model.HEADS[j]} {MODE_NAMES[mode]}: AUPRC {average_precision_score(y[k], logit[k]):.3f}; "
                  f"{measures(y[k], 1 / (1 + np.exp(-logit[k])), 0.5)}")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--model", required=True, help="folder of all-MiniLM-L6-v2")
    p.add_argument("--shared", help="folder of the public sets")
    p.add_argument("--net", required=True, help="what tune.py wrote, for policy with --away")
    p.add_argument("--cache", default=os.path.join(os.path.expanduser("~"), ".cache", "parley-safety"))
    p.add_argument("--corpus", default=os.path.join(ROOT, "data", "safety", "corpus"))
    sub = p.add_subparsers(dest="command", required=True)
    f = sub.add_parser("final")
    f.add_argument("out")
    f.add_argument("--name", default="parley-guard-6")
    sub.add_parser("policy")
    f = sub.add_parser("loo")
    f.add_argument("sources", nargs="*", help="names of sources or folds; default: all")
    f.add_argument("--baseline", action="store_true", help="train TF-IDF + logistic regression beside it")
    a = p.parse_args()
    {"final": final, "policy": policy, "loo": leave_out}[a.command](a, Set(a))


if __name__ == "__main__":
    main()
