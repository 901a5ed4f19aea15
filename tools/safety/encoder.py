"""all-MiniLM-L6-v2 in PyTorch, with low-rank deltas (Hu et al. 2021) on its dense layers: to fine-tune it for the comparisons
of tools/safety/compare.py and tune.py, and to embed many texts fast on a GPU or a machine with bf16 matrix units."""
import os

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from tokenizers import Tokenizer

HEADS, LAYERS, WIDTH = 12, 6, 384
torch.set_num_threads(1)


class Encoder(torch.nn.Module):
    """forward() gives mean-pooled vectors, of unit length unless raw; with layers, behind each the means of the states that the
    guard's classifier reads (minilm.py). scale: what the deltas are multiplied by; 0 is the published model."""

    def __init__(self, folder, max_tokens=192, rank=0, device="cpu"):
        super().__init__()
        self.tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_tokens)
        weights = load_file(os.path.join(folder, "model.safetensors"))
        self.device = torch.device(device)
        self.w = {k: torch.from_numpy(v).to(self.device) for k, v in weights.items() if v.dtype == np.float32}
        self.deltas = torch.nn.ParameterDict()
        self.rank, self.scale = rank, 16 / rank if rank else 0
        if rank:
            for k, v in self.w.items():
                if k.endswith(".weight") and ".dense." in k or ".self." in k and k.endswith(".weight"):
                    if "pooler" not in k:
                        name = k.replace(".", "_")
                        self.deltas[name + "_a"] = torch.nn.Parameter((torch.randn(rank, v.shape[1]) * v.shape[1] ** -0.5).to(self.device))
                        self.deltas[name + "_b"] = torch.nn.Parameter(torch.zeros(v.shape[0], rank, device=self.device))

    def dense(self, x, name):
        y = F.linear(x, self.w[name + ".weight"], self.w[name + ".bias"])
        if self.scale:
            n = (name + ".weight").replace(".", "_")
            y = y + F.linear(F.linear(x, self.deltas[n + "_a"]), self.deltas[n + "_b"]) * self.scale
        return y

    def norm(self, x, name):
        return F.layer_norm(x, (WIDTH,), self.w[name + ".weight"], self.w[name + ".bias"], 1e-12)

    def forward(self, ids, mask, raw=False, layers=False):
        n, length = ids.shape
        x = self.w["embeddings.word_embeddings.weight"][ids] + self.w["embeddings.position_embeddings.weight"][:length]
        x = self.norm(x + self.w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        hidden = (1 - mask[:, None, None, :]) * -1e9  # torch's own attention takes six times as long on a CPU
        beneath = []

        def mean(x):
            return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

        for i in range(LAYERS):
            p = f"encoder.layer.{i}."
            q, k, v = (self.dense(x, p + "attention.self." + s).view(n, length, HEADS, -1).transpose(1, 2)
                       for s in ("query", "key", "value"))
            a = (q @ k.transpose(2, 3) * (WIDTH // HEADS) ** -0.5 + hidden).softmax(-1) @ v
            a = a.transpose(1, 2).reshape(n, length, WIDTH)
            x = self.norm(x + self.dense(a, p + "attention.output.dense"), p + "attention.output.LayerNorm")
            if layers and i:
                beneath.append(mean(x))
            h = F.gelu(self.dense(x, p + "intermediate.dense"))
            x = self.norm(x + self.dense(h, p + "output.dense"), p + "output.LayerNorm")
        pooled = mean(x)
        pooled = pooled if raw else F.normalize(pooled, dim=1)
        return torch.cat([pooled, *beneath], 1) if layers else pooled

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
            yield g, torch.from_numpy(b).to(self.device), torch.from_numpy(m).to(self.device)

    @torch.inference_mode()
    def embed(self, texts, progress=None):
        """An array of float32, a row with layers for each text, as minilm.Embedder gives them."""
        out = None
        for g, ids, mask in self.batches(texts, 16384):
            part = self(ids, mask, layers=True).float().cpu().numpy()
            out = np.zeros((len(texts), part.shape[1]), np.float32) if out is None else out
            out[g] = part
            if progress:
                progress(f"embedded {len(g)} of length {ids.shape[1]}")
        return out
