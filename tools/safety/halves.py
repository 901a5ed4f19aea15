#!/usr/bin/env python3
"""False alarms of the whole guard on our look-alikes that were kept apart, and what a choice of bounds is worth elsewhere.

    halves.py write ROWS.jsonl                 the corpus's lines that were kept apart: look-alikes and harmful requests
    parley eval safety ROWS.jsonl --verdicts VERDICTS.jsonl
    halves.py read ROWS.jsonl VERDICTS.jsonl   what is blocked; bounds chosen on one half of the lines, measured on the other

The lines are halved by their hash, each with all its readings. Prints counts and measures, never a text.
"""
import argparse
import hashlib
import json
import os

import numpy as np

import bounds
import data
import model

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
POLICY = os.path.join(ROOT, "src", "safety", "policy.json")
STEPS, MOST = (0.02, 0.04, 0.06), 0.16  # a bound is raised by one of these at a time, by so much in all


def rows_kept_apart(corpus):
    for r in data.own(corpus):
        if r["split"] != "dev" or r["harmful"] is None or r["flags"] != (0, 0):
            continue
        near = r["near"] != "-" or r["kind"] == "wrapped"
        if r["harmful"] or near:
            yield {"text": r["text"], "harmful": int(r["harmful"]), "group": r["group"]}


def write(a):
    n = [0, 0]
    with open(a.rows, "w", encoding="utf-8") as f:
        for r in rows_kept_apart(a.corpus):
            f.write(json.dumps(r, ensure_ascii=False) + "\n")
            n[r["harmful"]] += 1
    print(f"{n[0]} look-alikes and {n[1]} harmful requests")


class Judged:
    """What was judged: of each row the scores, whether a rule or a fixed part blocks it, its line and its half."""

    def __init__(self, rows, verdicts):
        self.harmful = np.array([r["harmful"] for r in rows], bool)
        self.lines = np.array([r["group"] for r in rows])
        self.half = np.array([int(hashlib.sha256(g.encode()).hexdigest()[4:8], 16) % 2 for g in self.lines])
        self.score = np.array([[v["verdict"]["scores"].get(c, 0) for c in model.CATEGORIES] for v in verdicts])
        self.blocked = np.array([v["verdict"]["action"] == "block" for v in verdicts])
        found = [[f for f in v["verdict"]["findings"] if f["action"] == "block"] for v in verdicts]
        self.rule = np.array([any(not f["source"].startswith("model:") for f in fs) for fs in found])
        self.model = np.array([any(f["source"].startswith("model:") for f in fs) for fs in found])

    def at(self, limits):
        return self.rule | bounds.blocked(self.score, limits)


def raised(j, part, limits, share):
    """The bounds with steps that spare most look-alikes of the part for the harmful requests that they lose, until so few are blocked."""
    look, harm, start = part & ~j.harmful, part & j.harmful, limits.copy()
    while j.at(limits)[look].mean() > share:
        now, best = j.at(limits), None
        for c in range(bounds.HARMS):
            for step in STEPS:
                trial = limits.copy()
                trial[c] += step
                then = j.at(trial)
                spared, lost = now[look].sum() - then[look].sum(), now[harm].sum() - then[harm].sum()
                rank = spared / (lost + 1)
                if spared and trial[c] <= start[c] + MOST + 1e-9 and (best is None or rank > best[0]):
                    best = (rank, trial)
        if best is None:
            break
        limits = best[1]
    return limits


def told(j, hit, part):
    look, harm = part & ~j.harmful, part & j.harmful
    share = bounds.by_line(look, j.lines)[hit].sum()
    return f"{hit[look].sum()} of {look.sum()} look-alikes ({100 * hit[look].mean():.2f} %; by lines {100 * share:.1f} %), {100 * hit[harm].mean():.1f} % of {harm.sum()} harmful"


def read(a):
    with open(a.rows, encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    with open(a.verdicts, encoding="utf-8") as f:
        verdicts = [json.loads(line) for line in f]
    if [v["row"] for v in verdicts] != list(range(1, len(rows) + 1)):
        raise SystemExit("the verdicts are not of these rows")
    j, limits, everything = Judged(rows, verdicts), bounds.policy_bounds(a.policy), np.ones(len(rows), bool)
    look = ~j.harmful
    print("blocked:", told(j, j.blocked, everything))
    print(f"look-alikes by a rule alone: {(j.rule & ~j.model & look).sum()}, by the classifier: {(j.model & look).sum()}")
    for share in (0.05, 0.045):
        left, n = 0, 0
        for half in (0, 1):
            chosen = raised(j, j.half == half, limits, share)
            hit, other = j.at(chosen), j.half != half
            left, n = left + hit[other & look].sum(), n + (other & look).sum()
            moved = ", ".join(f"{c} {b:.2f}" for c, b, was in zip(model.CATEGORIES, chosen, limits) if b != was) or "nothing raised"
            print(f"until {100 * share:.1f} % of half {half}: {moved}; on the other: {told(j, hit, other)}")
        print(f"  both ways: {left} of {n} ({100 * left / n:.2f} %)")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--corpus", default=os.path.join(ROOT, "data", "safety", "corpus"))
    sub = p.add_subparsers(dest="command", required=True)
    f = sub.add_parser("write")
    f.add_argument("rows")
    f = sub.add_parser("read")
    f.add_argument("rows")
    f.add_argument("verdicts")
    f.add_argument("--policy", default=POLICY, help="whose bounds the choice begins with")
    a = p.parse_args()
    {"write": write, "read": read}[a.command](a)


if __name__ == "__main__":
    main()
