"""The net that reads the encoder's layers beside its embedding (src/safety/classifier_layers.h).

It is trained like the other nets (model.py), on rows whose numbers are brought to mean 0 and deviation 1; the file has weights that take
that back. It has a share of the logit where there are layers. Not all rows are read: of a line of ours two readings, of the public sets
as many again by their weight, for the encoder takes its time.
"""
import hashlib
import math
import struct

import numpy as np

import model

NET = model.Net(0.5, 0, True, 256, 8, 5, dropout=0.5, noise=1.0)
READINGS = 2    # of a line of ours
LONGEST = 1000  # characters of a text to learn from
PUBLIC = 8000   # texts of the public sets


def draw(row):
    """A number between 0 and 1 that is always the same for a text."""
    return (int.from_bytes(hashlib.sha256(row["text"].encode()).digest()[:6], "big") + 0.5) / 2 ** 48


def pick(rows, among, weights):
    """Which of the rows `among` are learnt from: of the public sets so many, drawn by weight (Efraimidis and Spirakis 2006)."""
    among = [i for i in among if len(rows[i]["text"]) < LONGEST]
    count, ours, public = {}, [], []
    for i in sorted(among, key=lambda i: draw(rows[i])):
        if not rows[i]["source"].startswith("own_"):
            public.append(i)
        elif count.setdefault(rows[i]["group"], 0) < READINGS:
            count[rows[i]["group"]] += 1
            ours.append(i)
    public.sort(key=lambda i: math.log(draw(rows[i])) / weights[i], reverse=True)
    return np.array(ours + public[:PUBLIC])


class Deep:
    """embedder: with layers."""

    def __init__(self, embedder, rows, learn, flags, labels, weights, log=None):
        x = embedder.embed([rows[i]["text"] for i in learn], log)
        self.embedder, self.mean, self.deviation = embedder, x.mean(0), x.std(0) + 1e-4
        n = len(learn)
        bags = type("Bags", (), {"ids": [()] * n})
        self.params = model.train(NET, bags, (x - self.mean) / self.deviation, flags[learn], labels[learn], weights[learn], np.arange(n))
        self.known = {}  # logits of rows that were asked for, by their number

    def logits(self, texts, flags, log=None):
        x = (self.embedder.embed(texts, log) - self.mean) / self.deviation
        bags = type("Bags", (), {"ids": [()] * len(x)})
        return model.predict(NET, self.params, bags, x, flags, np.arange(len(x)))

    def quantise(self):
        """The weights as the file has them: of the numbers as they are, in 8 bits, the share within the last ones."""
        p = {k: np.asarray(v, np.float64) for k, v in self.params.items()}
        n = len(self.mean)
        v1 = np.delete(p["w1"], n, 0)
        scale = (np.abs(v1).max(0) / 127).astype("<f4")
        by = np.concatenate([1 / self.deviation, np.ones(2)]).astype("<f4")
        q = np.clip(np.round(v1 / scale), -127, 127).astype(np.int8)
        c1 = p["b1"] + p["w1"][n] - (self.mean * by[:n]) @ (q[:n] * scale.astype(np.float64))  # the flag "has an embedding" is always set
        return {"scale": scale, "by": by, "v1": q, "c1": c1.astype("<f4"), "v2": (p["w2"] * NET.share).astype("<f4"), "c2": (p["b2"] * NET.share).astype("<f4")}


def section(q, calibration):
    numbers = len(q["v1"]) - model.EMBEDDING - 2
    v1 = q["v1"].tobytes()
    return (struct.pack("<2If", numbers, len(q["c1"]), 1 - NET.share) + q["scale"].tobytes() + q["by"].tobytes() + v1 + bytes(-len(v1) % 4) +
            b"".join(q[k].tobytes() for k in ("c1", "v2", "c2")) + calibration.astype("<f4").tobytes())


def reference(q, others, row, flags):
    """The logits as the program computes them. row: embedding and layers; flags: is an answer, is a passage."""
    h = (np.concatenate([row, flags]) * q["by"]) @ (q["v1"] * q["scale"].astype(float)) + q["c1"]
    return (1 - NET.share) * others + np.maximum(h, 0) @ q["v2"] + q["c2"]
