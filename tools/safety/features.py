"""The classifier's hashed features; src/safety/classifier.c computes the same, bucket for bucket.

A text becomes bytes of UTF-8; ASCII letters are lowered; every run of other ASCII bytes than letters and digits becomes one
space; one space stands at both ends. Features: all 3-, 4- and 5-byte pieces of that, its words, and pairs of neighbouring words.
Each is hashed to one of 2^BITS buckets; a bucket says nothing about which texts fell into it.
"""
import numpy as np

BITS = 16
MAX_BYTES = 4096  # of the folded text; what follows is not looked at
FNV = 16777619
BASIS = 2166136261
FOLD = bytearray(32 if b < 128 and not chr(b).isalnum() else b for b in range(256))
for _b in range(ord("A"), ord("Z") + 1):
    FOLD[_b] = _b + 32
FOLD = bytes(FOLD)
_words = {}


def fold(text):
    words = [w for w in text.encode("utf-8", "surrogatepass").translate(FOLD).split(b" ") if w]
    return (b" " + b" ".join(words) + b" ")[:MAX_BYTES] if words else b" "


def mix(h):
    """The finaliser of MurmurHash3 (Appleby)."""
    h = h ^ (h >> np.uint32(16))
    h = h * np.uint32(0x85EBCA6B)
    h = h ^ (h >> np.uint32(13))
    h = h * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def word_hash(word):
    h = _words.get(word)
    if h is None:
        h = BASIS
        for b in word:
            h = ((h ^ b) * FNV) & 0xFFFFFFFF
        if len(_words) < 500000:
            _words[word] = h
    return h


def buckets(text):
    """Two arrays of bucket numbers: of the pieces, and of the words and pairs."""
    folded = fold(text)
    raw = np.frombuffer(folded, np.uint8).astype(np.uint32)
    pieces = []
    with np.errstate(over="ignore"):
        for n in (3, 4, 5):
            if len(raw) < n:
                break
            count = len(raw) - n + 1
            h = np.full(count, (BASIS + n) & 0xFFFFFFFF, np.uint32)
            for k in range(n):
                h = (h ^ raw[k:k + count]) * np.uint32(FNV)
            pieces.append(mix(h) >> np.uint32(32 - BITS))
        w = np.array([word_hash(x) for x in folded.split(b" ") if x], np.uint32)
        pairs = (w[:-1] * np.uint32(0x9E3779B1)) ^ w[1:] if len(w) > 1 else np.zeros(0, np.uint32)
        words = mix(np.concatenate([w, pairs])) >> np.uint32(32 - BITS) if len(w) else np.zeros(0, np.uint32)
    return (np.concatenate(pieces) if pieces else np.zeros(0, np.uint32)), words
