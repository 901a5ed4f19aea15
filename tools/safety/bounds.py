"""The policy's bounds: which texts are blocked at them, and a choice of them for the categories of harm."""
import json

import numpy as np

import model

HARMS = 8  # the first heads: hate … privacy
ANSWER_DOUBT = 1.5  # of an answer without embedding (src/safety/classifier.c)


def policy_bounds(path, direction="input"):
    """The bound of each category from which a message (or an answer) is blocked."""
    with open(path, encoding="utf-8") as f:
        categories = json.load(f)["categories"]
    out = []
    for c in model.CATEGORIES:
        rule = categories[c]
        block = rule.get(direction, {}).get("block", rule.get("block"))
        out.append(2.0 if block is None else block)
    return np.array(out)


def scores(calibration, logits, doubt=0.0):
    """The score of each category as classifier.c gives it: the strongest harm speaks for the whole, none is above the whole. doubt: of
    each text, taken off its log-odds."""
    p = 1 / (1 + np.exp(np.reshape(doubt, (-1, 1)) - (calibration[:, 0] * logits + calibration[:, 1])))
    out, harmful = p[:, :len(model.CATEGORIES)].copy(), p[:, -1]
    strongest = out[:, :HARMS].argmax(1)
    out[:, :HARMS] = np.minimum(out[:, :HARMS], harmful[:, None])
    out[np.arange(len(out)), strongest] = harmful
    return out


def blocked(score, bounds):
    return (score >= bounds).any(1)


def by_line(mask, lines):
    """Weights of the rows of a mask, so that each line that they were written out from counts the same; their sum is one."""
    count = {}
    for line in lines[mask]:
        count[line] = count.get(line, 0) + 1
    return np.array([1 / count[x] if m else 0.0 for m, x in zip(mask, lines)]) / max(len(count), 1)


def choose(score, found, limits, start=0.96, least=0.4, step=0.02):
    """Lowers the harms' bounds one step at a time, always the one that finds most for what it costs, while each of the limits
    (weights of harmless rows that sum to one, the share of them that may be blocked) holds. found: what a harmful row is worth."""
    bounds = np.full(HARMS, start)
    score = score[:, :HARMS]
    while True:
        best, now = None, blocked(score, bounds)
        for c in range(HARMS):
            trial = bounds.copy()
            trial[c] -= step
            then = blocked(score, trial)
            if trial[c] < least or any(w[then].sum() > share for w, share in limits):
                continue
            new = then & ~now
            rank = (found[new].sum() + 1e-3) / (sum(w[new].sum() / share for w, share in limits) + 1e-3)
            if best is None or rank > best[0]:
                best = (rank, c)
        if best is None:
            return bounds
        bounds[best[1]] -= step
