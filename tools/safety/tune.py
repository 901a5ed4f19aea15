#!/usr/bin/env python3
"""Tunes the encoder for the guard: low-rank deltas for MiniLM that leave its embeddings where they were, and the net of its layers.

    tune.py --model FOLDER --shared FOLDER [--away] [--anchor 30] [--epochs 8] OUT

Writes OUT.safetensors (data/safety/encoder.safetensors: tools/minilm_to_gguf.py merges it into the published weights) and OUT.npz (the
net, and what it says of the rows that are measured: train.py reads it as --net). --away leaves the sources of train.UNSEEN out.

MiniLM learns the labels of train.py under a net like deep.NET, which reads what the program reads in the pass that serves retrieval: the
pooled embedding and the means of the states beneath. The anchor is what it costs to move the embedding of a text of the corpus or of an
ordinary one (documents and questions of search, whole or a piece): anchor * (1 - cosine). A line's readings together count as READINGS
texts. In the end nets are trained anew on what the tuned encoder says of all texts. A GPU makes it three minutes; a CPU takes a day.
Needs requirements-compare.txt. Prints losses, never a text.
"""
import argparse
import gzip
import json
import math
import os

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

import deep
import model
import train
import vocabulary
from data import load
from encoder import WIDTH, Encoder

ORDINARY = ("pubmedqa", "xquad_en")  # cranfield and cacm are only measured
TOKENS = 24576  # of a step
RANK, READINGS, NETS, SMOOTH = 16, 2, 2, 0.02


def ordinary(shared, tokenizer):
    out = vocabulary.first(vocabulary.words(tokenizer))
    for name in ORDINARY:
        for file in ("corpus", "queries"):
            with gzip.open(os.path.join(shared, "retrieval", name, file + ".jsonl.gz"), "rt", encoding="utf-8") as f:
                out += [json.loads(line)["text"] for line in f]
    return out


def piece(text, rng):
    """The text, or some words of it."""
    words = text.split()
    n = rng.integers(1, len(words) + 1) if words and rng.random() < 0.5 else len(words)
    start = rng.integers(0, len(words) - n + 1)
    return " ".join(words[start:start + n])


def by_line(rows, learn, weights):
    """The weights, so that no line of ours counts more than READINGS texts."""
    count = {}
    for i in learn:
        count[rows[i]["group"]] = count.get(rows[i]["group"], 0) + 1
    return weights * np.array([min(1, READINGS / count.get(r["group"], 1)) if r["source"].startswith("own_") else 1 for r in rows],
                              np.float32)[:, None]


class Net(torch.nn.Module):
    """deep.NET on numbers brought to mean 0 and deviation 1."""

    def __init__(self, mean, deviation, device):
        super().__init__()
        n = len(mean) + 2
        self.mean, self.deviation = mean, deviation
        self.w1 = torch.nn.Parameter(torch.randn(n, deep.NET.hidden // NETS, device=device) * n ** -0.5)
        self.b1 = torch.nn.Parameter(torch.zeros(deep.NET.hidden // NETS, device=device))
        self.w2 = torch.nn.Parameter(torch.randn(len(self.b1), len(model.HEADS), device=device) * len(self.b1) ** -0.5)
        self.b2 = torch.nn.Parameter(torch.full((len(model.HEADS),), -2.0, device=device))

    def forward(self, x, flags, noise=0.0):
        x = (x - self.mean) / self.deviation
        x = torch.cat([x + torch.randn_like(x) * noise, flags], 1)
        if not noise:
            return F.relu(x @ self.w1 + self.b1) @ self.w2 + self.b2
        return F.dropout(F.relu(F.dropout(x, 0.05) @ self.w1 + self.b1), deep.NET.dropout) @ self.w2 + self.b2


def loss(logits, labels, weights):
    each = F.binary_cross_entropy_with_logits(logits, labels * (1 - 2 * SMOOTH) + SMOOTH, reduction="none")
    return (each * weights).sum() / weights.sum().clamp_min(1e-6) * len(model.HEADS)


def moved(enc, ids, mask, now):
    scale, enc.scale = enc.scale, 0
    with torch.no_grad():
        was = enc(ids, mask)
    enc.scale = scale
    return 1 - (was * now).sum(1).mean()


def tune(a, enc, texts, calm, flags, labels, weights):
    """The deltas' moving average at the end is what is kept."""
    rng = np.random.default_rng(1)
    some = torch.from_numpy(enc.embed([texts[i] for i in rng.permutation(len(texts))[:20000]])).to(enc.device)
    head = Net(some.mean(0), some.std(0) + 1e-3, enc.device)
    opt = torch.optim.AdamW([{"params": enc.parameters(), "lr": 1e-3}, {"params": head.parameters(), "lr": 2e-3}], betas=(0.9, 0.98))
    rates = [g["lr"] for g in opt.param_groups]
    steps = [b for _ in range(a.epochs) for b in enc.batches(texts, TOKENS, rng)]
    still = [b for _ in range(a.epochs) for b in enc.batches([piece(t, rng) for t in calm], TOKENS // 3, rng)]
    average = [p.detach().clone() for p in enc.parameters()]
    for t, (g, ids, mask) in enumerate(steps):
        for group, rate in zip(opt.param_groups, rates):
            group["lr"] = rate * min(1, (t + 1) / 50) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * t / len(steps))))
        with torch.autocast(enc.device.type, dtype=torch.bfloat16):
            x = enc(ids, mask, layers=True)
            _, ids2, mask2 = still[t % len(still)]
            kept = moved(enc, ids, mask, x[:, :WIDTH]) + moved(enc, ids2, mask2, enc(ids2, mask2))
        value = loss(head(x.float(), flags[g], 0.5), labels[g], weights[g])
        opt.zero_grad()
        (value + a.anchor / 2 * kept).backward()
        torch.nn.utils.clip_grad_norm_(enc.parameters(), 1.0)
        opt.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, list(enc.parameters()), 1 - min(0.995, (t + 1) / (t + 10)))
        if t % 100 == 0:
            train.log(f"step {t} of {len(steps)}: loss {value.item():.3f}, moved {kept.item() / 2:.4f}")
    with torch.no_grad():
        for p, value in zip(enc.parameters(), average):
            p.copy_(value)


def fit(x, flags, labels, weights, seed, batch=256, rate=2e-3):
    """A net on what the encoder says, trained as model.train() does."""
    torch.manual_seed(100 + seed)
    net = Net(x.mean(0), x.std(0) + 1e-4, x.device)
    opt = torch.optim.Adam(net.parameters(), lr=rate, betas=(0.9, 0.99), eps=1e-6)
    per = len(x) // batch
    total = deep.NET.epochs * per
    for t in range(total):
        if t % per == 0:
            order = torch.randperm(len(x), device=x.device)
        r = order[t % per * batch:(t % per + 1) * batch]
        opt.param_groups[0]["lr"] = rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * t / total)))
        opt.zero_grad()
        (loss(net(x[r], flags[r], deep.NET.noise), labels[r], weights[r]) + 1e-5 * ((net.w1 ** 2).sum() + (net.w2 ** 2).sum())).backward()
        opt.step()
    return net


def eight_bits(enc):
    """Each pair of vectors in 8 bits, and what they are multiplied by (tools/minilm_to_gguf.py adds them up)."""
    out = {}
    for name in enc.w:
        key = name.replace(".", "_")
        if key + "_a" in enc.deltas:
            a, b = (enc.deltas[key + part].detach().float().cpu().numpy() for part in ("_a", "_b"))
            b = b.T * enc.scale
            sa, sb = (np.maximum(np.abs(v).max(1), 1e-12) / 127 for v in (a, b))
            name = name.removesuffix(".weight")
            out[name + ".a"], out[name + ".b"] = (np.ascontiguousarray(np.round(v / s[:, None]).astype(np.int8)) for v, s in ((a, sa), (b, sb)))
            out[name + ".scale"] = (sa * sb).astype(np.float32)
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("model", "shared"):
        p.add_argument("--" + name, required=True)
    p.add_argument("--corpus", default=os.path.join(train.ROOT, "data", "safety", "corpus"))
    p.add_argument("--away", action="store_true")
    p.add_argument("--anchor", type=float, default=30)
    p.add_argument("--epochs", type=int, default=8)
    p.add_argument("--limit", type=int, default=1 << 30, help="learn from so many texts only, to try it")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("out")
    a = p.parse_args()
    torch.manual_seed(1)
    rows = load(a.corpus, a.shared)
    flags, labels, _, _, weights = train.targets(rows)
    away = np.array([a.away and r["source"] in train.UNSEEN for r in rows])
    learns = np.array([r["split"] == "train" for r in rows]) & ~away
    learn, rest = np.where(learns)[0][:a.limit], np.where(~learns)[0]
    weights = by_line(rows, learn, weights)
    flags, labels, weights = (torch.from_numpy(np.ascontiguousarray(v)).to(a.device) for v in (flags[:, 1:], labels, weights))
    enc = Encoder(a.model, 256, RANK, a.device)
    texts = [rows[i]["text"] for i in learn]
    tune(a, enc, texts, ordinary(a.shared, enc.tokenizer)[:a.limit], flags[learn], labels[learn], weights[learn])
    save_file(eight_bits(enc), a.out + ".safetensors")
    x, y = (torch.from_numpy(enc.embed([rows[i]["text"] for i in part])).to(a.device) for part in (learn, rest))
    nets = [fit(x, flags[learn], labels[learn], weights[learn], k) for k in range(NETS)]
    with torch.no_grad():
        logits = sum(net(y, flags[rest]) for net in nets) / NETS
    parts = {k: [getattr(net, k).detach().cpu().numpy() for net in nets] for k in ("w1", "b1", "w2", "b2")}
    np.savez(a.out + ".npz", rows=rest, logits=logits.cpu().numpy(), mean=nets[0].mean.cpu().numpy(), deviation=nets[0].deviation.cpu().numpy(),
             w1=np.concatenate(parts["w1"], 1), b1=np.concatenate(parts["b1"]), w2=np.concatenate(parts["w2"]) / NETS, b2=sum(parts["b2"]) / NETS)


if __name__ == "__main__":
    main()
