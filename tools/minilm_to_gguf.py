#!/usr/bin/env python3
"""Converts all-MiniLM-L6-v2 to the GGUF that llama.cpp loads: minilm_to_gguf.py MODEL_FOLDER OUT.gguf [DELTAS]

MODEL_FOLDER holds config.json, vocab.txt and model.safetensors as published. DELTAS (data/safety/encoder.safetensors) are low-rank
changes to its dense layers that the guard learnt and that leave the embeddings where they were; the file then says so, and the
engine hands out what its layers say (src/base/layers_of.h). Matrices become Q8_0 (32 numbers
share a scale; the embeddings stay within 0.003 cosine of the original), everything else stays F32. The output
depends on the input only, byte for byte. Runs under the packages of tools/requirements.txt; `parley model pull`
calls it with the copy that is embedded in the program.
"""
import json
import os
import sys

import gguf
import numpy as np
from safetensors import safe_open

NAME = "all-MiniLM-L6-v2"
LAYERS_KEY, LAYERS_OF = "parley.layers", "parley-guard-6"  # whose deltas are merged (src/base/layers_of.h)

# WordPiece's own tokens, at these places in the published vocab.txt.
SPECIAL_TOKENS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}

EMBEDDING_TENSORS = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}
LAYER_TENSORS = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
KEPT_F32 = {"position_embd.weight", "token_types.weight"}


def tensor_names(layers):
    """The published name of every tensor that is needed, and its name in GGUF."""
    names = dict(EMBEDDING_TENSORS)
    for i in range(layers):
        for published, ours in LAYER_TENSORS.items():
            for part in ("weight", "bias"):
                names[f"encoder.layer.{i}.{published}.{part}"] = f"blk.{i}.{ours}.{part}"
    return names


def vocabulary(path):
    """Token texts and types in llama.cpp's form: a word's start is marked, a continuation is plain."""
    with open(path, encoding="utf-8") as f:
        lines = [line.rstrip("\n") for line in f]
    for text, place in SPECIAL_TOKENS.items():
        if lines[place] != text:
            sys.exit(f"{path}: line {place + 1} should be {text}; this is another vocabulary")
    texts, types = [], []
    for text in lines:
        if text.startswith("[unused"):
            kind = gguf.TokenType.UNUSED
        elif text in SPECIAL_TOKENS:
            kind = gguf.TokenType.CONTROL
        else:
            kind = gguf.TokenType.NORMAL
            text = text[2:] if text.startswith("##") else "\u2581" + text
        texts.append(text)
        types.append(kind)
    return texts, types


def add_metadata(writer, config):
    writer.add_name(NAME)
    writer.add_license("apache-2.0")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_token_type_count(config["type_vocab_size"])


def add_tokenizer(writer, vocab_path):
    texts, types = vocabulary(vocab_path)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("jina-v2-en")  # llama.cpp's name for lower-casing BERT pre-tokenisation
    writer.add_token_list(texts)
    writer.add_token_types(types)
    writer.add_bos_token_id(SPECIAL_TOKENS["[CLS]"])
    writer.add_eos_token_id(SPECIAL_TOKENS["[SEP]"])
    writer.add_sep_token_id(SPECIAL_TOKENS["[SEP]"])
    writer.add_unk_token_id(SPECIAL_TOKENS["[UNK]"])
    writer.add_pad_token_id(SPECIAL_TOKENS["[PAD]"])
    writer.add_mask_token_id(SPECIAL_TOKENS["[MASK]"])


def delta(deltas, name):
    """The change to a matrix: a sum of products of two vectors, always added up in the same order, so that it is the same everywhere."""
    a, b, scale = (deltas.get_tensor(f"{name}.{part}") for part in ("a", "b", "scale"))
    total = np.zeros((b.shape[1], a.shape[1]), np.float64)
    for i in range(len(scale)):
        total += np.multiply.outer(b[i].astype(np.float64) * float(scale[i]), a[i].astype(np.float64))
    return total.astype(np.float32)


def add_tensors(writer, weights_path, layers, deltas):
    with safe_open(weights_path, "np") as weights:
        for published, name in tensor_names(layers).items():
            tensor = weights.get_tensor(published).astype(np.float32)
            matrix = published.removesuffix(".weight")
            if deltas and f"{matrix}.scale" in deltas.keys():
                tensor = tensor + delta(deltas, matrix)
            if tensor.ndim == 2 and name not in KEPT_F32:
                packed = gguf.quants.quantize(tensor, gguf.GGMLQuantizationType.Q8_0)
                writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
            else:
                writer.add_tensor(name, tensor)


def convert(folder, out, deltas_path=None):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    writer = gguf.GGUFWriter(out, "bert")
    add_metadata(writer, config)
    add_tokenizer(writer, os.path.join(folder, "vocab.txt"))
    deltas = safe_open(deltas_path, "np") if deltas_path else None
    if deltas:
        writer.add_string(LAYERS_KEY, LAYERS_OF)
    add_tensors(writer, os.path.join(folder, "model.safetensors"), config["num_hidden_layers"], deltas)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: minilm_to_gguf.py MODEL_FOLDER OUT.gguf [DELTAS]")
    convert(*sys.argv[1:])
