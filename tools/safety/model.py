"""The classifier as trained: hashed features and the sentence's embedding in, one logit for each head out.

    z = sum of table rows of the pieces / sqrt(their number) + the same of words and pairs      (DIM numbers)
    x = [embedding (zeros when there is none), z, 1 when there is an embedding, 1 when it is an answer, 1 when a passage]
    h = relu(W1 x + b1);   logits = W2 h + b2

Trained with Adam (Kingma and Ba 2014) on weighted binary cross-entropy; unknown labels are left out of the loss. Texts with an
embedding and texts without have nets of their own (few epochs do best where the embedding carries most, more where the hashed
features must do alone); merge() makes one of them.
"""
import functools

import jax
import jax.numpy as jnp
import numpy as np

import features

CATEGORIES = ("hate", "harassment", "violence", "self_harm", "sexual", "sexual_minors", "illicit", "privacy", "prompt_injection",
              "jailbreak")
HEADS = CATEGORIES + ("harmful",)
DIM, HIDDEN, EMBEDDING = 16, 64, 384
INPUTS = EMBEDDING + DIM + 3
LENGTHS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
PIECES_MAX = 12300


def init(rng):
    def normal(*shape, scale):
        return jnp.asarray(rng.normal(0, scale, shape), jnp.float32)
    return {"table": normal(1 << features.BITS, DIM, scale=0.02), "w1": normal(INPUTS, HIDDEN, scale=INPUTS ** -0.5),
            "b1": jnp.zeros(HIDDEN), "w2": normal(HIDDEN, len(HEADS), scale=HIDDEN ** -0.5),
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


def train(bags, embedding, flags, labels, weights, rows, with_embedding=True, epochs=3, batch=256, rate=2e-3, decay=1e-5,
          dropout=0.2, keep=0.6, smooth=0.02, seed=1):
    rng = np.random.default_rng(seed)
    params = init(rng)
    m = jax.tree.map(jnp.zeros_like, params)
    v = jax.tree.map(jnp.zeros_like, params)
    lengths = np.array([len(bags.ids[i]) for i in rows])
    t, total = 0, epochs * (len(rows) // batch)
    for epoch in range(epochs):
        order = rng.permutation(len(rows))
        chunks = []
        for start in range(0, len(order), batch * 16):  # batches of like length, in mixed order
            part = order[start:start + batch * 16]
            part = part[np.argsort(lengths[part], kind="stable")]
            chunks += [rows[part[i:i + batch]] for i in range(0, len(part) - batch + 1, batch)]
        rng.shuffle(chunks)
        for chunk in chunks:
            t += 1
            ids, scale = bags.batch(chunk, 1024, rng)
            scale = scale * (rng.random(scale.shape) < keep) / keep
            e, f = embedding[chunk].copy(), flags[chunk].copy()
            if not with_embedding:
                e[:], f[:, 0] = 0, 0
            drop = ((rng.random((len(chunk), INPUTS)) > 0.05).astype(np.float32) / 0.95,
                    (rng.random((len(chunk), HIDDEN)) > dropout).astype(np.float32) / (1 - dropout))
            soft = labels[chunk] * (1 - 2 * smooth) + smooth
            params, m, v = step(params, m, v, float(t), (ids, scale.astype(np.float32), e, f, soft, weights[chunk]), drop,
                                rate * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * t / max(total, 1)))), decay)
    return params


def predict(params, bags, embedding, flags, rows, with_embedding=True, batch=256):
    out = np.zeros((len(rows), len(HEADS)), np.float32)
    order = np.argsort([len(bags.ids[i]) for i in rows], kind="stable")
    for start in range(0, len(rows), batch):
        part = order[start:start + batch]
        padded = np.concatenate([part, np.full(batch - len(part), part[0])])
        chunk = np.asarray(rows)[padded]
        ids, scale = bags.batch(chunk, PIECES_MAX)
        e, f = embedding[chunk], flags[chunk]
        if not with_embedding:
            e, f = np.zeros_like(e), np.concatenate([np.zeros((len(f), 1), np.float32), f[:, 1:]], 1)
        out[part] = np.asarray(forward(params, ids, scale, e, f))[:len(part)]
    return out


def train_nets(*data):
    """The nets of a model: two for texts with an embedding, whose logits are averaged, and one for texts without."""
    return [train(*data, seed=1), train(*data, seed=2), train(*data, with_embedding=False, epochs=5, keep=0.9, smooth=0.0, seed=3)]


ALONE = 0.15  # of the logit that the net without embedding has where there is one: its numbers are about twice as large


def predict_nets(nets, bags, embedding, flags, rows, with_embedding=True):
    alone = predict(nets[-1], bags, embedding, flags, rows, False)
    if not with_embedding:
        return alone
    return (1 - ALONE) / (len(nets) - 1) * sum(predict(p, bags, embedding, flags, rows) for p in nets[:-1]) + ALONE * alone


GATE = 64.0  # more than any unit's input comes to


def merge(nets):
    """One net that gives what predict_nets() does: the flag "has an embedding" shuts the units of the nets that are not meant. The last
    net's units are there twice: alone without an embedding, and as one voice of several with one."""
    k, heads = len(nets), len(HEADS)
    dim, hidden = DIM * k, HIDDEN * (k + 1)
    inputs = EMBEDDING + dim + 3
    out = {"table": np.concatenate([np.asarray(p["table"]) for p in nets], 1), "w1": np.zeros((inputs, hidden), np.float32),
           "b1": np.zeros(hidden, np.float32), "w2": np.zeros((hidden, heads), np.float32),
           "w3": np.zeros((inputs, heads), np.float32), "b2": np.asarray(nets[-1]["b2"]).copy()}
    for block, i in enumerate([*range(k), k - 1]):
        p, units = nets[i], slice(block * HIDDEN, (block + 1) * HIDDEN)
        w1, has = np.asarray(p["w1"]), block < k
        reads = i < k - 1  # the last net knows no embedding and no flag of one
        out["w1"][:EMBEDDING, units] = w1[:EMBEDDING] if reads else 0
        out["w1"][EMBEDDING + i * DIM:EMBEDDING + (i + 1) * DIM, units] = w1[EMBEDDING:EMBEDDING + DIM]
        out["w1"][-3:, units] = w1[-3:]
        out["w1"][-3, units] = (w1[-3] if reads else 0) + GATE if has else -GATE
        out["b1"][units] = np.asarray(p["b1"]) - (GATE if has else 0)
        out["w2"][units] = np.asarray(p["w2"]) * ((1 - ALONE) / (k - 1) if reads else ALONE if has else 1)
    out["w3"][-3] = (1 - ALONE) / (k - 1) * sum(np.asarray(p["b2"]) for p in nets[:-1]) + (ALONE - 1) * out["b2"]
    return out
