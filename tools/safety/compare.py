#!/usr/bin/env python3
"""What the classifier could read: the table of docs/safety-model-card.md.

    compare.py --model MINILM_FOLDER --chat SMOLLM2.gguf --shared FOLDER [--train 4000] [--test 1200] [--layers 15] [--epochs 2]

The same training texts and the same test texts, of sources that training did not see, for all: TF-IDF, hashed pieces, frozen
MiniLM embeddings, both, hidden states of the chat model after some of its layers (all with logistic regression), and MiniLM
fine-tuned by low-rank deltas. Needs requirements-compare.txt. Prints measures and times, never a text.
"""
import argparse
import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

import data
from chat_states import ChatModel
from encoder import Encoder
from minilm import Embedder

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UNSEEN = ("surge_toxicity", "wiki_talk", "ailuminate_demo", "donotanswer", "mitre_frr", "self_instruct_user", "mt_bench",
          "nq_open_dev", "catqa")
LONGEST = 600  # characters


def pick(rows, n, rng, shares=None):
    shares = np.array(shares if shares is not None else np.ones(len(rows)))
    return [rows[i] for i in rng.choice(len(rows), min(n, len(rows)), replace=False, p=shares / shares.sum())]


def texts_of(rows):
    return [r["text"] for r in rows]


def regression(x, y, x_test, c):
    return LogisticRegression(C=c, max_iter=400).fit(x, y).decision_function(x_test)


def tuned(a, train, y, test):
    """MiniLM with low-rank deltas on its dense layers, trained on the label alone."""
    torch.manual_seed(1)
    enc = Encoder(a.model, 96, rank=8)
    head = torch.nn.Linear(384, 1)
    opt = torch.optim.AdamW([*enc.parameters(), *head.parameters()], weight_decay=0.01)
    steps = [b for e in range(a.epochs) for b in enc.batches(texts_of(train), 2048, np.random.default_rng(e))]
    for t, (g, ids, mask) in enumerate(steps):
        for p in opt.param_groups:
            p["lr"] = a.rate * min(1, (t + 1) / 20) * (0.03 + 0.97 * 0.5 * (1 + np.cos(np.pi * t / len(steps))))
        z = head(F.dropout(enc(ids, mask) * 16, 0.1))[:, 0]
        opt.zero_grad()
        F.binary_cross_entropy_with_logits(z, torch.from_numpy(y[g])).backward()
        opt.step()
    out = np.zeros(len(test), np.float32)
    with torch.inference_mode():
        for g, ids, mask in enc.batches(texts_of(test)):
            out[g] = head(enc(ids, mask) * 16)[:, 0].numpy()
    return out


def line(name, y, hard, score, seconds):
    """Recall where 5 % of the harmless test texts, and of the look-alikes among them, are flagged."""
    at = lambda rows: 100 * (score[y == 1] > np.quantile(score[rows], 0.95)).mean()
    print(f"| {name} | {average_precision_score(y, score):.3f} | {at(y == 0):.1f} % | {at(hard):.1f} % | {seconds:.0f} s |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("model", "chat", "shared"):
        p.add_argument("--" + name, required=True)
    p.add_argument("--cache", default=os.path.join(os.path.expanduser("~"), ".cache", "parley-safety"))
    p.add_argument("--corpus", default=os.path.join(ROOT, "data", "safety", "corpus"))
    for name, value in (("train", 4000), ("test", 1200), ("layers", 15), ("epochs", 2)):
        p.add_argument("--" + name, type=int, default=value)
    p.add_argument("--rate", type=float, default=2e-3)
    a = p.parse_args()
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    rng = np.random.default_rng(1)
    rows = [r for r in data.load(a.corpus, a.shared) if r["harmful"] is not None and len(r["text"]) <= LONGEST]
    known = [r for r in rows if r["source"] not in UNSEEN and r["split"] == "train"]
    train = pick(known, a.train, rng, data.weights(known))
    test = pick([r for r in rows if r["source"] in UNSEEN], a.test, rng)
    y, y_test = (np.array([r["harmful"] for r in part], np.float32) for part in (train, test))
    hard = np.array([r["source"] == "mitre_frr" for r in test])
    print(f"{len(train)} texts to train on, {len(test)} of unseen sources to test ({int(y_test.sum())} harmful, {int(hard.sum())} look-alikes)\n")
    print("| read | AUPRC | recall at 5 % false positives | at 5 % on look-alikes | CPU time |\n|---|---|---|---|---|")

    def run(name, make, c):
        begun = time.process_time()
        x, x_test = make()
        line(name, y_test, hard, regression(x, y, x_test, c), time.process_time() - begun)
        return x, x_test

    tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=100000)
    run("TF-IDF of words and pairs", lambda: (tfidf.fit_transform(texts_of(train)), tfidf.transform(texts_of(test))), 4)
    pieces = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=1 << 18, alternate_sign=False)
    bags = run("hashed pieces of words", lambda: (pieces.transform(texts_of(train)), pieces.transform(texts_of(test))), 8)
    frozen = Embedder(a.model, a.cache)
    vectors = run("frozen MiniLM embedding", lambda: [frozen.embed(texts_of(part)) for part in (train, test)], 30)
    run("frozen embedding and pieces", lambda: [hstack([csr_matrix(v * 2), b]).tocsr() for v, b in zip(vectors, bags)], 12)
    chat = ChatModel(a.chat)
    run(f"hidden states of SmolLM2 after {a.layers} layers", lambda: [chat.vectors(texts_of(part), a.layers) for part in (train, test)], 60)
    begun = time.process_time()
    line("MiniLM fine-tuned, deltas of rank 8", y_test, hard, tuned(a, train, y, test), time.process_time() - begun)


if __name__ == "__main__":
    main()
