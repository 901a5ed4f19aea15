"""Hidden states of a small llama-style chat model (SmolLM2) in PyTorch, from its GGUF: for the comparison of compare.py."""
import numpy as np
import torch
import torch.nn.functional as F
from gguf import GGUFReader, dequantize
from tokenizers import Tokenizer, decoders, models, pre_tokenizers


class ChatModel:
    def __init__(self, path):
        reader = GGUFReader(path)
        value = lambda k: reader.fields[k].contents()
        self.w = {t.name: torch.from_numpy(dequantize(t.data, t.tensor_type).astype(np.float32)) for t in reader.tensors}
        self.layers, self.heads = value("llama.block_count"), value("llama.attention.head_count")
        self.groups, self.base = value("llama.attention.head_count_kv"), value("llama.rope.freq_base")
        self.eps = value("llama.attention.layer_norm_rms_epsilon")
        tokens = value("tokenizer.ggml.tokens")
        merges = [tuple(m.split(" ")) for m in value("tokenizer.ggml.merges")]
        self.tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
        self.tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.tokenizer.decoder = decoders.ByteLevel()
        self.tokenizer.enable_truncation(96)

    def norm(self, x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.w[name]

    def rope(self, x):
        """Neighbouring numbers are a pair: GGUF has q and k in that order."""
        d = x.shape[-1]
        angle = torch.arange(x.shape[-2])[:, None] * self.base ** (-torch.arange(0, d, 2) / d)
        c, s = angle.cos(), angle.sin()
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack([a * c - b * s, a * s + b * c], -1).flatten(-2)

    def states(self, ids, upto):
        """The residual stream after `upto` layers: (texts, tokens, width)."""
        n, length = ids.shape
        x = self.w["token_embd.weight"][ids]
        split = lambda t, h: t.view(n, length, h, -1).transpose(1, 2)
        for i in range(upto):
            p = f"blk.{i}."
            h = self.norm(x, p + "attn_norm.weight")
            q = self.rope(split(F.linear(h, self.w[p + "attn_q.weight"]), self.heads))
            k = self.rope(split(F.linear(h, self.w[p + "attn_k.weight"]), self.groups))
            v = split(F.linear(h, self.w[p + "attn_v.weight"]), self.groups)
            k, v = (t.repeat_interleave(self.heads // self.groups, 1) for t in (k, v))
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, length, -1)
            x = x + F.linear(a, self.w[p + "attn_output.weight"])
            h = self.norm(x, p + "ffn_norm.weight")
            up = F.silu(F.linear(h, self.w[p + "ffn_gate.weight"])) * F.linear(h, self.w[p + "ffn_up.weight"])
            x = x + F.linear(up, self.w[p + "ffn_down.weight"])
        return x

    def vectors(self, texts, upto):
        """Mean and last token of each text after `upto` layers, each of unit length; shorter ones padded at their end."""
        ids = [e.ids or [0] for e in self.tokenizer.encode_batch(texts)]
        out = np.zeros((len(texts), 2 * self.w["output_norm.weight"].shape[0]), np.float32)
        order = np.argsort([len(x) for x in ids], kind="stable")
        with torch.inference_mode():
            for start in range(0, len(order), 64):
                part = order[start:start + 64]
                length = max(len(ids[i]) for i in part)
                batch = torch.zeros(len(part), length, dtype=torch.long)
                for r, i in enumerate(part):
                    batch[r, :len(ids[i])] = torch.tensor(ids[i])
                x = self.states(batch, upto)
                for r, i in enumerate(part):
                    n = len(ids[i])
                    own = x[r, :n] if n == 1 else x[r, 1:n]  # the first token's state is like no other
                    out[i] = torch.cat([F.normalize(own.mean(0), dim=0), F.normalize(x[r, n - 1], dim=0)]).numpy()
        return out
