"""Random shapes, options and values: every variant that takes such a problem passes its check.

The same problems every time; PARETO_RANDOM_SEED draws others, PARETO_RANDOM_PROBLEMS more of them:
PARETO_RANDOM_PROBLEMS=1000 pytest tests/e2e/test_random_problems.py.
"""

import json
import os

import h5py
import numpy as np
import pytest
from program import PEERS, pareto, pareto_json

SEED = int(os.environ.get("PARETO_RANDOM_SEED", "1"))
PROBLEMS = int(os.environ.get("PARETO_RANDOM_PROBLEMS", "30"))
CORES = min(3, len(os.sched_getaffinity(0)))
OPS = ("attention", "qgemm", "sparse")

# Around the widths of vectors, tiles, groups and pages.
EDGES = (1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 100, 127, 128, 129)
ACTIVATIONS = ("none", "none", "relu", "gelu", "silu", "sigmoid", "tanh")


class Drawer:
    """Random choices of one problem."""

    def __init__(self, op, number):
        self.random = np.random.default_rng((SEED, OPS.index(op), number))

    def one_of(self, values):
        return values[self.random.integers(len(values))]

    def chance(self, probability):
        return self.random.random() < probability

    def size(self, most=300):
        return self.one_of(EDGES) if self.chance(0.7) else int(self.random.integers(1, most))

    def tensor(self, *shape):
        """fp32 values of one of seven kinds."""
        kind = self.one_of(("normal", "positive", "large", "small", "outliers", "wide", "few"))
        values = self.random.standard_normal(shape)
        if kind == "positive":
            values = self.random.random(shape)
        elif kind == "large":
            values *= 1e3
        elif kind == "small":
            values *= 1e-3
        elif kind == "outliers":
            values[self.random.random(shape) < 0.005] *= 100
        elif kind == "few":
            values = self.random.choice(self.random.random(3), shape)
        elif kind == "wide":
            values *= np.exp(2 * self.random.standard_normal(shape))
        return values.astype(np.float32)

    def zeros(self, values, share):
        values[self.random.random(values.shape) < share] = 0
        return values


def linear(draw, settings):
    """x, w and perhaps a bias; the epilogue's keys."""
    M, N, K = draw.size(70), draw.size(), draw.size(2000)
    tensors = {"x": draw.tensor(M, K), "w": draw.tensor(N, K)}
    if draw.chance(0.5):
        tensors["bias"] = draw.tensor(N)
    settings["activation"] = draw.one_of(ACTIVATIONS)
    settings["out_dtype"] = draw.one_of(("fp32", "fp32", "bf16", "fp16"))
    return tensors


def qgemm(draw, scheme):
    settings = {"scheme": scheme, "dtype": draw.one_of(("bf16", "fp16"))}
    if scheme == "w8a8_static":
        settings["scheme"] = "w8a8"  # the other needs a calibration set
    return linear(draw, settings), settings


def sparse(draw, form):
    settings = {"format": form, "dtype": draw.one_of(("fp32", "bf16", "fp16"))}
    tensors = linear(draw, settings)
    if settings["format"] == "lowrank":
        settings["rank"] = int(draw.random.integers(1, min(tensors["w"].shape) + 1))
        settings["method"] = "svd"
    elif settings["format"] == "2to4":
        settings["sparsity"] = 0.5
    elif settings["format"] == "skip_x":
        draw.zeros(tensors["x"], draw.random.random())
    else:
        settings["sparsity"] = draw.one_of((0, 0.1, 0.5, 0.7, 0.9, 0.99, 1))
    return tensors, settings


def attention(draw, dtype):
    batch, heads_kv = draw.one_of((1, 1, 2, 3)), draw.one_of((1, 1, 2, 3))
    heads_q = heads_kv * draw.one_of((1, 1, 2, 4, 5, 8))
    seq_q, seq_kv = draw.size(200), draw.size(500)
    head_dim, head_dim_v = draw.size(160), draw.size(160)
    tensors = {
        "q": draw.tensor(batch, heads_q, seq_q, head_dim),
        "k": draw.tensor(batch, heads_kv, seq_kv, head_dim),
        "v": draw.tensor(batch, heads_kv, seq_kv, head_dim if draw.chance(0.7) else head_dim_v),
    }
    full = (batch, heads_q, seq_q, seq_kv)
    if draw.chance(0.3):
        tensors["bias"] = draw.tensor(*(draw.one_of((1, extent)) for extent in full))
    if draw.chance(0.3):
        shape = tuple(draw.one_of((1, extent)) for extent in full)
        tensors["allowed"] = draw.zeros(np.ones(shape, np.uint8), 0.3)
    if draw.chance(0.3):
        tensors["alibi_slopes"] = draw.random.random(heads_q).astype(np.float32)
    if draw.chance(0.3):
        tensors["sinks"] = draw.tensor(heads_q)
    settings = {
        "dtype": dtype,
        "kv_dtype": draw.one_of(("same", "same", "bf16", "fp16", "int8", "fp8_e4m3")),
        "mask": draw.one_of(("none", "causal", "causal_top_left")),
        "window_left": draw.one_of((-1, -1, draw.size())),
        "window_right": draw.one_of((-1, -1, draw.size())),
        "softcap": draw.one_of((0, 0, 3, 30)),
        "scale": draw.one_of(("auto", "auto", 0, 0.5, -1)),
        "out_dtype": draw.one_of(("same", "fp32", "bf16", "fp16")),
    }
    return tensors, settings


DRAWN = {"attention": attention, "qgemm": qgemm, "sparse": sparse}
WORD = {"attention": "dtype", "qgemm": "scheme", "sparse": "format"}


@pytest.fixture(scope="module")
def registered():
    """Per op: the variants that run here, peers aside, and the values of the key they differ by."""
    found = {}
    for op in OPS:
        listing = pareto_json("list", "--op", op)
        names = [entry["name"].split("/")[1] for entry in listing["variants"] if entry["runnable"]]
        values = {key["name"]: key["words"] for key in listing["ops"][0]["keys"]}[WORD[op]]
        found[op] = [name for name in names if not name.startswith(PEERS)], values
    return found


@pytest.mark.parametrize("number", range(PROBLEMS))
@pytest.mark.parametrize("op", OPS)
def test_every_variant_passes(tmp_path, registered, op, number):
    variants, values = registered[op]
    draw = Drawer(op, number)
    tensors, settings = DRAWN[op](draw, values[number % len(values)])
    source = tmp_path / "in.h5"
    with h5py.File(source, "w") as file:
        for name, value in tensors.items():
            file[name] = value
    words = [f"{key}={value}" for key, value in settings.items()]
    shapes = {name: value.shape for name, value in tensors.items()}
    declined = []
    passed = 0
    for variant in variants:
        threads = draw.one_of((1, CORES))
        command = ["eval", op, "--variant", variant, "--threads", threads, "--in", source]
        result = pareto(*command, "--out", tmp_path / "out.h5", "--json", "--set", *words)
        if result.returncode == 3:
            declined.append(result.stderr)
            continue
        # fp16 scales of values beyond 65504 are refused before any kernel runs.
        if result.returncode == 2 and "overflow" in result.stderr:
            return
        assert result.returncode == 0, (variant, words, shapes, result.stderr)
        verdict = json.loads(result.stdout)
        assert verdict["status"] == "pass", (variant, threads, words, shapes, verdict["message"])
        passed += 1
    assert passed > 0, (words, shapes, declined)
