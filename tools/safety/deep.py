"""The net that reads the encoder's layers beside its embedding (src/safety/classifier_layers.h).

tune.py trains it, with the encoder, on rows whose numbers are brought to mean 0 and deviation 1; the file has weights that take that
back. It has a share of the logit where there are layers.
"""
import struct

import numpy as np

import model

NET = model.Net(0.65, 0, True, 512, 8, 5, dropout=0.5, noise=1.0)


class Deep:
    """path: what tune.py wrote."""

    def __init__(self, path):
        with np.load(path) as z:
            self.params = {k: z[k].astype(np.float64) for k in ("w1", "b1", "w2", "b2")}
            self.mean, self.deviation = z["mean"].astype(np.float64), z["deviation"].astype(np.float64)
            self.known = dict(zip(z["rows"].tolist(), z["logits"].astype(np.float32)))

    def logits(self, rows):
        return np.array([self.known[i] for i in rows])

    def quantise(self):
        """The weights as the file has them: of the numbers as they are, in 8 bits, the share within the last ones."""
        p, n = self.params, len(self.mean)
        scale = (np.abs(p["w1"]).max(0) / 127).astype("<f4")
        by = np.concatenate([1 / self.deviation, np.ones(2)]).astype("<f4")
        q = np.clip(np.round(p["w1"] / scale), -127, 127).astype(np.int8)
        c1 = p["b1"] - (self.mean * by[:n]) @ (q[:n] * scale.astype(np.float64))
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
