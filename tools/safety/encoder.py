"""all-MiniLM-L6-v2 in PyTorch, with low-rank deltas (Hu et al. 2021) on its dense layers: to fine-tune it for the comparison
of tools/safety/compare.py, and to embed many texts fast on a machine with bf16 matrix units."""
import os

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from tokenizers import Tokenizer

HEADS, LAYERS, WIDTH = 12, 6, 384
torch.set_num_threads(1)


class Encoder(torch.nn.Module):
    """forward() gives mean-pooled vectors, of unit length unless raw."""

    def __init__(self, folder, max_tokens=192, rank=0):
        super().__init__()
        self.tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_tokens)
        weights = load_file(os.path.join(folder, "model.safetensors"))
        self.w = {k: torch.from_numpy(v) for k, v in weights.items() if v.dtype == np.float32}
        self.deltas = torch.nn.ParameterDict()
        self.rank = rank
        if rank:
            for k, v in self.w.items():
                if k.endswith(".weight") and ".dense." in k or ".self." in k and k.endswith(".weight"):
                    if "pooler" not in k:
                        name = k.replace(".", "_")
                        self.deltas[name + "_a"] = torch.nn.Parameter(torch.randn(rank, v.shape[1]) * v.shape[1] ** -0.5)
                        self.deltas[name + "_b"] = torch.nn.Parameter(torch.zeros(v.shape[0], rank))

    def dense(self, x, name):
        w = self.w[name + ".weight"]
        if self.rank:
            n = (name + ".weight").replace(".", "_")
            w = w + (self.deltas[n + "_b"] @ self.deltas[n + "_a"]) * (16 / self.rank)
        return F.linear(x, w, self.w[name + ".bias"])

    def norm(self, x, name):
        return F.layer_norm(x, (WIDTH,), self.w[name + ".weight"], self.w[name + ".bias"], 1e-12)

    def forward(self, ids, mask, raw=False):
        n, length = ids.shape
        x = self.w["embeddings.word_embeddings.weight"][ids] + self.w["embeddings.position_embeddings.weight"][:length]
        x = self.norm(x + self.w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        keep = mask[:, None, None, :].bool()
        for i in range(LAYERS):
            p = f"encoder.layer.{i}."
            q, k, v = (self.dense(x, p + "attention.self." + s).view(n, length, HEADS, -1).transpose(1, 2)
                       for s in ("query", "key", "value"))
            a = F.scaled_dot_product_attention(q, k, v, attn_mask=keep).transpose(1, 2).reshape(n, length, WIDTH)
            x = self.norm(x + self.dense(a, p + "attention.output.dense"), p + "attention.output.LayerNorm")
            h = F.gelu(self.dense(x, p + "intermediate.dense"))
            x = self.norm(x + self.dense(h, p + "output.dense"), p + "output.LayerNorm")
        pooled = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return pooled if raw else F.normalize(pooled, dim=1)

    def batches(self, texts, tokens=4096, rng=None):
        """(rows, ids, mask) of like length."""
        ids = [e.ids for e in self.tokenizer.encode_batch(texts)]
        order = np.argsort([len(x) for x in ids], kind="stable")
        groups, start = [], 0
        while start < len(order):
            end = start + 1
            while end < len(order) and len(ids[order[end]]) * (end + 1 - start) <= tokens:
                end += 1
            groups.append(order[start:end])
            start = end
        if rng is not None:
            rng.shuffle(groups)
        for g in groups:
            length = max(len(ids[i]) for i in g)
            b, m = np.zeros((len(g), length), np.int64), np.zeros((len(g), length), np.float32)
            for r, i in enumerate(g):
                b[r, :len(ids[i])], m[r, :len(ids[i])] = ids[i], 1
            yield g, torch.from_numpy(b), torch.from_numpy(m)
