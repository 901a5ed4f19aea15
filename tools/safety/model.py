"""The classifier as trained: hashed features and the sentence's embedding in, one logit for each head out.

    z = sum of table rows of the pieces / sqrt(their number) + the same of words and pairs      (as many numbers as a row of the table has)
    x = [embedding (zeros when there is none), z, 1 when there is an embedding, 1 when it is an answer, 1 when a passage]
    h = relu(W1 x + b1);   logits = W2 h + b2

Trained with Adam (Kingma and Ba 2014) on weighted binary cross-entropy; unknown labels are left out of the loss. There are several
nets: some read all of x, some no z, the last one no embedding (few epochs do best where the embedding carries most, more where
the hashed features must do alone). merge() makes one net of them.
"""
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import features

CATEGORIES = ("hate", "harassment", "violence", "self_harm", "sexual", "sexual_minors", "illicit", "privacy", "prompt_injection",
              "jailbreak")
HEADS = CATEGORIES + ("harmful",)
EMBEDDING = 384
LENGTHS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
PIECES_MAX = 12300


def init(rng, dim, hidden, embedding=EMBEDDING):
    def normal(*shape, scale):
        return jnp.asarray(rng.normal(0, scale, shape), jnp.float32)
    inputs = embedding + dim + 3
    return {"table": normal(1 << features.BITS, dim, scale=0.02), "w1": normal(inputs, hidden, scale=inputs ** -0.5),
            "b1": jnp.zeros(hidden), "w2": normal(hidden, len(HEADS), scale=hidden ** -0.5),
            "b2": jnp.full(len(HEADS), -2.0)}


def top(params, z, embedding, flags, drop=None):
    x = jnp.concatenate([embedding, z, flags], 1)
    if drop is not None:
        x = x * drop[0]
    h = jax.nn.relu(x @ params["w1"] + params["b1"])
    if drop is not None:
        h = h * drop[1]
    return h @ params["w2"] + params["b2"]


def bag(table, ids, scale):
    """ids: padded with -1; scale: 1/sqrt(count) of each id's kind, 0 where padded."""
    return (table[ids] * scale[..., None]).sum(1)


def loss(params, batch, drop, decay):
    ids, scale, embedding, flags, labels, weights = batch
    logits = top(params, bag(params["table"], ids, scale), embedding, flags, drop)
    each = jnp.logaddexp(0, logits) - labels * logits
    value = (each * weights).sum() / jnp.maximum(weights.sum(), 1e-6) * len(HEADS)
    norm = sum((params[k] ** 2).sum() for k in ("w1", "w2"))
    return value + decay * norm


@functools.partial(jax.jit, donate_argnums=(0, 1, 2))
def step(params, m, v, t, batch, drop, rate, decay):
    g = jax.grad(loss)(params, batch, drop, decay)
    m = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, m, g)
    v = jax.tree.map(lambda a, b: 0.99 * a + 0.01 * b * b, v, g)
    def move(p, a, b):
        return p - rate * (a / (1 - 0.9 ** t)) / (jnp.sqrt(b / (1 - 0.99 ** t)) + 1e-6)
    params = jax.tree.map(move, params, m, v)
    params["table"] = params["table"] * (1 - rate * 0.3)  # decoupled weight decay (Loshchilov and Hutter 2017)
    return params, m, v


@jax.jit
def forward(params, ids, scale, embedding, flags):
    return top(params, bag(params["table"], ids, scale), embedding, flags)


class Bags:
    """The hashed features of texts, computed once."""
    def __init__(self, texts):
        self.ids, self.scale = [], []
        for t in texts:
            a, b = features.buckets(t)
            self.ids.append(np.concatenate([a, b]).astype(np.int32))
            self.scale.append(np.concatenate([np.full(len(a), max(len(a), 1) ** -0.5, np.float32),
                                              np.full(len(b), max(len(b), 1) ** -0.5, np.float32)]))

    def batch(self, rows, cap, keep=None):
        """Padded to a length of LENGTHS; longer bags are thinned at random to cap when keep (a generator) is given."""
        n = min(max(len(self.ids[i]) for i in rows), cap)
        length = next((x for x in LENGTHS if n <= x), PIECES_MAX)
        ids = np.zeros((len(rows), length), np.int32)
        scale = np.zeros((len(rows), length), np.float32)
        for r, i in enumerate(rows):
            a, s = self.ids[i], self.scale[i]
            if len(a) > length:
                pick = keep.choice(len(a), length, replace=False) if keep is not None else slice(0, length)
                a, s = a[pick], s[pick] * (len(self.ids[i]) / length)
            ids[r, :len(a)], scale[r, :len(a)] = a, s
        return ids, scale


def chunks_of(rows, lengths, batch, rng):
    """Batches of rows of like length, in mixed order."""
    order = rng.permutation(len(rows))
    chunks = []
    for start in range(0, len(order), batch * 16):
        part = order[start:start + batch * 16]
        part = part[np.argsort(lengths[part], kind="stable")]
        chunks += [rows[part[i:i + batch]] for i in range(0, len(part) - batch + 1, batch)]
    rng.shuffle(chunks)
    return chunks


def read(net, bags, embedding, flags, chunk, cap, rng=None):
    """What a net reads of rows: ids, scale, embedding, flags."""
    ids, scale = bags.batch(chunk, cap, rng) if net.words else (np.zeros((len(chunk), 1), np.int32), np.zeros((len(chunk), 1), np.float32))
    e, f = embedding[chunk], flags[chunk].copy()
    if not net.embedding:
        e, f[:, 0] = np.zeros_like(e), 0
    return ids, scale, e, f


def train(net, bags, embedding, flags, labels, weights, rows, batch=256, rate=2e-3, decay=1e-5):
    rng = np.random.default_rng(net.seed)
    params = init(rng, net.words, net.hidden, embedding.shape[1])
    inputs = len(params["w1"])
    m = jax.tree.map(jnp.zeros_like, params)
    v = jax.tree.map(jnp.zeros_like, params)
    lengths = np.array([len(bags.ids[i]) for i in rows])
    t, total = 0, net.epochs * (len(rows) // batch)
    for _ in range(net.epochs):
        for chunk in chunks_of(rows, lengths, batch, rng):
            t += 1
            ids, scale, e, f = read(net, bags, embedding, flags, chunk, 1024, rng)
            scale = scale * (rng.random(scale.shape) < net.keep) / net.keep
            if net.noise:
                e = e + rng.normal(0, net.noise, e.shape).astype(np.float32)
            drop = ((rng.random((len(chunk), inputs)) > 0.05).astype(np.float32) / 0.95,
                    (rng.random((len(chunk), net.hidden)) > net.dropout).astype(np.float32) / (1 - net.dropout))
            soft = labels[chunk] * (1 - 2 * net.smooth) + net.smooth
            params, m, v = step(params, m, v, float(t), (ids, scale.astype(np.float32), e, f, soft, weights[chunk]), drop,
                                rate * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * t / max(total, 1)))), decay)
    return params


def predict(net, params, bags, embedding, flags, rows, batch=256):
    out = np.zeros((len(rows), len(HEADS)), np.float32)
    order = np.argsort([len(bags.ids[i]) for i in rows], kind="stable")
    for start in range(0, len(rows), batch):
        part = order[start:start + batch]
        padded = np.concatenate([part, np.full(batch - len(part), part[0])])
        out[part] = np.asarray(forward(params, *read(net, bags, embedding, flags, np.asarray(rows)[padded], PIECES_MAX)))[:len(part)]
    return out


class Net(NamedTuple):
    """share: of the logit where there is an embedding; without one the last net speaks alone."""
    share: float
    words: int       # numbers in each row of the table; 0: no words are read
    embedding: bool
    hidden: int
    epochs: int
    seed: int
    dropout: float = 0.2
    keep: float = 0.6     # of the features, at random, while training
    smooth: float = 0.02  # of the labels
    noise: float = 0.0    # added to the embedding, whose numbers are about 1


NETS = (Net(0.4, 16, True, 96, 4, 2, dropout=0.3, noise=0.7),
        Net(0.5, 0, True, 288, 12, 1, dropout=0.5, noise=1.0),
        Net(0.1, 32, False, 64, 8, 3, keep=0.9, smooth=0.0))


def predict_nets(nets, bags, embedding, flags, rows, with_embedding=True):
    if not with_embedding:
        return predict(NETS[-1], nets[-1], bags, embedding, flags, rows)
    return sum(n.share * predict(n, p, bags, embedding, flags, rows) for n, p in zip(NETS, nets))


GATE = 64.0  # more than any unit's input comes to


def merge(nets):
    """One net that gives what predict_nets() does: the flag "has an embedding" shuts the units of the nets that are not meant. The last
    net's units are there twice: alone without an embedding, and as one voice of several with one."""
    heads, alone = len(HEADS), len(NETS) - 1
    dim, hidden = sum(n.words for n in NETS), sum(n.hidden for n in NETS) + NETS[-1].hidden
    inputs = EMBEDDING + dim + 3
    out = {"table": np.concatenate([np.asarray(p["table"]) for p in nets], 1), "w1": np.zeros((inputs, hidden), np.float32),
           "b1": np.zeros(hidden, np.float32), "w2": np.zeros((hidden, heads), np.float32),
           "w3": np.zeros((inputs, heads), np.float32), "b2": np.asarray(nets[-1]["b2"]).copy()}
    unit, column = 0, EMBEDDING
    for block, i in enumerate([*range(len(NETS)), alone]):
        n, p, has = NETS[i], nets[i], block < len(NETS)
        units, words = slice(unit, unit + n.hidden), n.words
        at = column if has else column - words  # the last net's rows serve both its blocks
        w1 = np.asarray(p["w1"])
        out["w1"][:EMBEDDING, units] = w1[:EMBEDDING] if n.embedding else 0
        out["w1"][at:at + words, units] = w1[EMBEDDING:EMBEDDING + words]
        out["w1"][-3:, units] = w1[-3:]
        out["w1"][-3, units] = (w1[-3] if n.embedding else 0) + GATE if has else -GATE
        out["b1"][units] = np.asarray(p["b1"]) - (GATE if has else 0)
        out["w2"][units] = np.asarray(p["w2"]) * (n.share if has else 1)
        unit += n.hidden
        column = at + words
    out["w3"][-3] = sum(n.share * np.asarray(p["b2"]) for n, p in zip(NETS, nets)) - out["b2"]
    return out
