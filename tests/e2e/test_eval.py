"""`pareto eval` against NumPy written from the documented numerics alone.

Tolerances: an output may differ from the float64 result by the rounding of fp32 accumulation over
K terms (a few 2^-24 times the sum of magnitudes, in any order) and by one rounding of out_dtype.
"""

import itertools
import json

import h5py
import numpy as np
import pytest
from program import PEERS, pareto, pareto_json

U32 = 2.0**-24
RANDOM = np.random.default_rng(7)


def evaluate(tmp_path, op, variant, tensors, **settings):
    """Outputs and the JSON verdict of one evaluation."""
    source, target = tmp_path / "in.h5", tmp_path / "out.h5"
    with h5py.File(source, "w") as file:
        for name, value in tensors.items():
            file[name] = value
    words = ["eval", op, "--variant", variant, "--in", source, "--out", target]
    if settings:
        words += ["--set", *(f"{key}={value}" for key, value in settings.items())]
    verdict = pareto_json(*words)
    with h5py.File(target) as file:
        return {name: file[name][()] for name in file}, verdict


def runnable(op, **words):
    """Short names of variants, peers aside, that run here and whose limits allow these words."""
    names = []
    for entry in pareto_json("list", "--op", op)["variants"]:
        if entry["name"].split("/")[1].startswith(PEERS):
            continue
        limits = {limit["key"]: limit["values"] for limit in entry["limits"] if limit["values"]}
        if entry["runnable"] and all(
            words.get(k, v[0]) in v for k, v in limits.items() if k in words
        ):
            names.append(entry["name"].split("/")[1])
    return names


def close(got, want, magnitude, terms, rounding=0.0):
    """|got − want| within fp32 accumulation of `terms` products and one output rounding."""
    bound = 2 * (terms + 8) * U32 * magnitude + rounding * np.abs(want) + 1e-37
    wrong = np.abs(got.astype(np.float64) - want) > bound
    assert not wrong.any(), (int(wrong.sum()), np.argwhere(wrong)[:3].tolist())


def groups_of(values, size):
    """Pairs (slice, group) along the last axis; a short last group is what is there."""
    for begin in range(0, values.shape[-1], size):
        where = slice(begin, min(begin + size, values.shape[-1]))
        yield where, values[..., where].astype(np.float64)


def bf16(x):
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return (rounded.astype(np.uint32) << 16).view(np.float32)


def divided(values, scale):
    return np.divide(values, scale, out=np.zeros_like(values), where=scale != 0)


def int8_rows(x, size=None):
    """Dequantized symmetric int8 with an fp32 scale per row, or per row and group."""
    result = np.zeros(x.shape, np.float64)
    for where, group in groups_of(x, size or max(x.shape[-1], 1)):
        amax = np.abs(group).max(axis=-1, keepdims=True)
        scale = np.where(amax > 0, (amax / 127).astype(np.float32), 1).astype(np.float64)
        result[..., where] = np.clip(np.rint(group / scale), -127, 127) * scale
    return result


def uint8_rows(x):
    x = x.astype(np.float64)
    lo = np.minimum(0, x.min(axis=-1, keepdims=True))
    hi = np.maximum(0, x.max(axis=-1, keepdims=True))
    scale = ((hi - lo) / 255).astype(np.float32).astype(np.float64)
    scale = np.where(scale > 0, scale, 1)
    zero = np.clip(np.rint(-lo / scale), 0, 255)
    return (np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale


def int4_groups(w, size, asymmetric=False):
    result = np.zeros(w.shape, np.float64)
    for where, group in groups_of(w, size):
        if asymmetric:
            lo = np.minimum(0, group.min(axis=-1, keepdims=True))
            hi = np.maximum(0, group.max(axis=-1, keepdims=True))
            scale = np.where(hi > lo, ((hi - lo) / 15).astype(np.float16), 1).astype(np.float64)
            zero = np.clip(np.rint(divided(-lo, scale)), 0, 15)
            code = np.clip(np.rint(divided(group, scale)) + zero, 0, 15)
            result[..., where] = (code - zero) * scale
        else:
            amax = np.abs(group).max(axis=-1, keepdims=True)
            scale = np.where(amax > 0, (2 * amax / 15).astype(np.float16), 1).astype(np.float64)
            result[..., where] = np.clip(np.rint(divided(group, scale)), -8, 7) * scale
    return result


def q8_0(w):
    result = np.zeros(w.shape, np.float64)
    for where, group in groups_of(w, 32):
        amax = np.abs(group).max(axis=-1, keepdims=True)
        scale = np.where(amax > 0, (amax / 127).astype(np.float16), 1).astype(np.float64)
        result[..., where] = np.clip(np.rint(divided(group, scale)), -127, 127) * scale
    return result


def q4_0(w):
    result = np.zeros(w.shape, np.float64)
    for where, group in groups_of(w, 32):
        largest = np.take_along_axis(group, np.abs(group).argmax(-1)[..., None], -1)
        scale = np.where(largest != 0, (largest / -8).astype(np.float16), 1).astype(np.float64)
        code = np.clip(np.rint(divided(group, scale)) + 8, 0, 15)
        result[..., where] = (code - 8) * scale
    return result


def small_float(values, exponent_bits, mantissa_bits, largest):
    """Nearest representable value, ties to even, saturating."""
    bias = 2 ** (exponent_bits - 1) - 1
    magnitude = np.minimum(np.abs(values), largest)
    exponent = np.floor(np.log2(np.where(magnitude > 0, magnitude, 1)))
    exponent = np.maximum(exponent, 1 - bias)
    step = 2.0 ** (exponent - mantissa_bits)
    return np.copysign(np.minimum(np.rint(magnitude / step) * step, largest), values)


def fp8_rows(x, exponent_bits, mantissa_bits, largest, size=None):
    result = np.zeros(x.shape, np.float64)
    for where, group in groups_of(x, size or max(x.shape[-1], 1)):
        amax = np.abs(group).max(axis=-1, keepdims=True)
        scale = np.where(amax > 0, (amax / largest).astype(np.float32), 1).astype(np.float64)
        code = small_float(
            np.clip(group / scale, -largest, largest), exponent_bits, mantissa_bits, largest
        )
        result[..., where] = code * scale
    return result


def mx(x, exponent_bits, mantissa_bits, emax, largest):
    result = np.zeros(x.shape, np.float64)
    for where, group in groups_of(x, 32):
        amax = np.abs(group).max(axis=-1, keepdims=True)
        power = np.floor(np.log2(np.where(amax > 0, amax, 1))) - emax
        scale = np.where(amax > 0, 2.0 ** np.clip(power, -127, 127), 1)
        result[..., where] = (
            small_float(group / scale, exponent_bits, mantissa_bits, largest) * scale
        )
    return result


def nvfp4(w):
    w = w.astype(np.float64)
    tensor = np.float64(np.float32(np.abs(w).max() / 2688)) or 1.0
    result = np.zeros(w.shape, np.float64)
    for where, group in groups_of(w, 16):
        amax = np.abs(group).max(axis=-1, keepdims=True)
        block = np.where(amax > 0, small_float(amax / (6 * tensor), 4, 3, 448), 1)
        scale = block * tensor
        code = small_float(np.clip(divided(group, scale), -6, 6), 2, 1, 6)
        result[..., where] = code * scale
    return result


IDENTITY = lambda t: t.astype(np.float64)  # noqa: E731
HALF = lambda t: bf16(t).astype(np.float64)  # noqa: E731
QGEMM = {
    "fp32": (IDENTITY, IDENTITY),
    "bf16": (HALF, HALF),
    "fp16": (lambda t: t.astype(np.float16).astype(np.float64),) * 2,
    "w8a8": (int8_rows, int8_rows),
    "w8a8_asym": (uint8_rows, int8_rows),
    "w4a16_g128": (HALF, lambda t: int4_groups(t, 128)),
    "w4a16_g32": (HALF, lambda t: int4_groups(t, 32)),
    "w4a16_asym_g128": (HALF, lambda t: int4_groups(t, 128, asymmetric=True)),
    "w4a8_g128": (lambda t: int8_rows(t, 128), lambda t: int4_groups(t, 128)),
    "q8_0": (IDENTITY, q8_0),
    "q4_0": (IDENTITY, q4_0),
    "q8_0_a8": (lambda t: int8_rows(t, 32), q8_0),
    "q4_0_a8": (lambda t: int8_rows(t, 32), q4_0),
    "mxfp4": (HALF, lambda t: mx(t, 2, 1, 2, 6.0)),
    "mxfp6_e2m3": (HALF, lambda t: mx(t, 2, 3, 2, 7.5)),
    "mxfp6_e3m2": (HALF, lambda t: mx(t, 3, 2, 4, 28.0)),
    "mxfp8": (lambda t: mx(t, 4, 3, 8, 448.0),) * 2,
    "nvfp4": (HALF, nvfp4),
    "fp8_e4m3": (lambda t: fp8_rows(t, 4, 3, 448.0),) * 2,
    "fp8_e5m2": (lambda t: fp8_rows(t, 5, 2, 57344.0),) * 2,
}


@pytest.mark.parametrize("scheme", QGEMM)
def test_qgemm(tmp_path, scheme):
    x = RANDOM.standard_normal((5, 203)).astype(np.float32) * 3
    w = RANDOM.standard_normal((37, 203)).astype(np.float32)
    w[3] = 0
    bias = RANDOM.standard_normal(37).astype(np.float32)
    decode_x, decode_w = QGEMM[scheme]
    xd, wd = decode_x(x), decode_w(w)
    want = np.maximum(xd @ wd.T + bias, 0)
    magnitude = np.abs(xd) @ np.abs(wd.T) + np.abs(bias)
    tensors = {"x": x, "w": w, "bias": bias}
    reference, _ = evaluate(
        tmp_path, "qgemm", "reference", tensors, scheme=scheme, activation="relu"
    )
    assert reference["y"].dtype == np.float64
    np.testing.assert_allclose(reference["y"], want, atol=1e-12 * magnitude.max())
    for variant in runnable("qgemm", scheme=scheme, operands="float", bias="present"):
        words = ["eval", "qgemm", "--variant", variant, "--in", tmp_path / "in.h5"]
        words += ["--out", tmp_path / "out.h5", "--set", f"scheme={scheme}", "activation=relu"]
        result = pareto(*words)
        if result.returncode == 3:
            continue
        assert result.returncode == 0, result.stderr
        with h5py.File(tmp_path / "out.h5") as file:
            close(file["y"][()], want, magnitude, x.shape[1])


def test_qgemm_integer_operands(tmp_path):
    x = RANDOM.integers(0, 256, (4, 67)).astype(np.uint8)
    w = RANDOM.integers(-128, 128, (9, 67)).astype(np.int8)
    zero = RANDOM.integers(0, 256, 4).astype(np.int32)
    scales = {"x_scale": np.full(4, 0.5, np.float32), "w_scale": np.full(9, 0.25, np.float32)}
    acc = (x.astype(np.int64) - zero[:, None]) @ w.T.astype(np.int64)
    tensors = {"x_q": x, "x_zero": zero, "w_q": w, **scales}
    checked = 0
    for variant in ["reference", *runnable("qgemm", operands="u8", scheme="w8a8")]:
        source = tmp_path / "in.h5"
        with h5py.File(source, "w") as file:
            for name, value in tensors.items():
                file[name] = value
        words = ["eval", "qgemm", "--variant", variant, "--in", source, "--out", tmp_path / "o.h5"]
        result = pareto(*words)
        if result.returncode == 3:
            continue
        assert result.returncode == 0, result.stderr
        with h5py.File(tmp_path / "o.h5") as file:
            np.testing.assert_array_equal(file["acc"][()], acc)
            np.testing.assert_allclose(file["y"][()], acc * 0.125)
        checked += 1
    assert checked >= 2


def attention(
    q, k, v, mask="none", softcap=0.0, window=(-1, -1), bias=0.0, sinks=None, slopes=None
):
    """float64 attention of [batch, heads, seq, dim] tensors; key heads are repeated."""
    q, k, v = (t.astype(np.float64) for t in (q, k, v))
    repeat = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, repeat, 1), np.repeat(v, repeat, 1)
    s = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])
    if softcap:
        s = softcap * np.tanh(s / softcap)
    rows, keys = np.arange(q.shape[2])[:, None], np.arange(k.shape[2])[None, :]
    off = 0 if mask == "causal_top_left" else k.shape[2] - q.shape[2]
    if slopes is not None:
        s = s - slopes[None, :, None, None] * np.abs(rows + off - keys)
    s = s + bias
    seen = np.ones(s.shape[-2:], bool)
    if mask != "none":
        seen &= keys <= rows + off
    if window[0] >= 0:
        seen &= keys >= rows + off - window[0]
    if window[1] >= 0:
        seen &= keys <= rows + off + window[1]
    s = np.where(seen, s, -np.inf)
    if sinks is not None:
        s = np.concatenate([s, np.broadcast_to(sinks[None, :, None, None], (*s.shape[:3], 1))], -1)
        v = np.concatenate([v, np.zeros((*v.shape[:2], 1, v.shape[3]))], 2)
    top = s.max(-1, keepdims=True)
    p = np.exp(s - np.where(np.isfinite(top), top, 0))
    total = p.sum(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        lse = (np.log(total) + np.where(np.isfinite(top), top, 0))[..., 0]
    return (p / np.where(total > 0, total, 1)) @ v, np.where(total[..., 0] > 0, lse, -np.inf)


ATTENTION = [
    {},
    {"mask": "causal"},
    {"mask": "causal_top_left"},
    {"mask": "causal", "window_left": 4},
    {"window_left": 3, "window_right": 2},
    {"softcap": 5.0},
]


@pytest.mark.parametrize(
    ("settings", "seq"), list(itertools.product(ATTENTION, [(7, 19), (33, 21), (1, 70)]))
)
def test_attention(tmp_path, settings, seq):
    q = RANDOM.standard_normal((2, 4, seq[0], 24)).astype(np.float32)
    k = RANDOM.standard_normal((2, 2, seq[1], 24)).astype(np.float32)
    v = RANDOM.standard_normal((2, 2, seq[1], 40)).astype(np.float32)
    tensors = {
        "q": q,
        "k": k,
        "v": v,
        "sinks": RANDOM.standard_normal(4).astype(np.float32),
        "alibi_slopes": np.array([0.5, 0.25, 0.125, 0.0625], np.float32),
        "bias": RANDOM.standard_normal((1, 4, 1, seq[1])).astype(np.float32),
    }
    o, lse = attention(
        q,
        k,
        v,
        mask=settings.get("mask", "none"),
        softcap=settings.get("softcap", 0.0),
        window=(settings.get("window_left", -1), settings.get("window_right", -1)),
        bias=tensors["bias"].astype(np.float64),
        sinks=tensors["sinks"].astype(np.float64),
        slopes=tensors["alibi_slopes"].astype(np.float64),
    )
    for variant in ["reference", *runnable("attention", dtype="fp32")]:
        words = ["eval", "attention", "--variant", variant, "--in", tmp_path / "in.h5"]
        words += ["--out", tmp_path / "out.h5"]
        if settings:
            words += ["--set", *(f"{key}={value}" for key, value in settings.items())]
        with h5py.File(tmp_path / "in.h5", "w") as file:
            for name, value in tensors.items():
                file[name] = value
        result = pareto(*words)
        if result.returncode == 3:
            continue
        assert result.returncode == 0, result.stderr
        with h5py.File(tmp_path / "out.h5") as file:
            # Logits reach 10, so exp amplifies their 24-term fp32 sums to a few 1e-6.
            np.testing.assert_allclose(file["o"][()], o, atol=2e-5)
            np.testing.assert_allclose(file["lse"][()], lse, atol=2e-5)


def magnitude_mask(w, sparsity):
    """The p smallest |w| go, of equals the higher flat index."""
    p = int(np.rint(sparsity * w.size))
    flat = np.abs(w).ravel()
    order = np.lexsort((-np.arange(w.size), flat))
    keep = np.ones(w.size, bool)
    keep[order[:p]] = False
    return keep.reshape(w.shape)


def two_of_four_mask(w):
    keep = np.zeros(w.shape, bool)
    for begin in range(0, w.shape[1], 4):
        group = np.abs(w[:, begin : begin + 4])
        best = np.argsort(-group, axis=1, kind="stable")[:, :2]
        np.put_along_axis(keep[:, begin : begin + 4], best, True, axis=1)
    return keep


@pytest.mark.parametrize("form", ["csr", "sell", "bsr16", "2to4", "bitmap"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_sparse(tmp_path, form, dtype):
    x = RANDOM.standard_normal((9, 70)).astype(np.float32)
    w = RANDOM.standard_normal((45, 70)).astype(np.float32)
    settings = {"format": form, "dtype": dtype, "sparsity": 0.5}
    if form == "bsr16":
        padded = np.zeros((48, 80))
        padded[:45, :70] = w.astype(np.float64) ** 2
        energy = padded.reshape(3, 16, 5, 16).sum((1, 3))
        keep = np.kron(magnitude_mask(energy, 0.5), np.ones((16, 16), bool))[:45, :70]
    elif form == "2to4":
        keep = two_of_four_mask(w)
    else:
        keep = magnitude_mask(w, 0.5)
    rounded = bf16 if dtype == "bf16" else lambda t: t
    xd, wd = rounded(x).astype(np.float64), rounded(w * keep).astype(np.float64)
    want, magnitude = xd @ wd.T, np.abs(xd) @ np.abs(wd.T)
    for variant in ["reference", *runnable("sparse", format=form, dtype=dtype)]:
        with h5py.File(tmp_path / "in.h5", "w") as file:
            file["x"], file["w"] = x, w
        words = ["eval", "sparse", "--variant", variant, "--in", tmp_path / "in.h5"]
        words += ["--out", tmp_path / "out.h5"]
        words += ["--set", *(f"{key}={value}" for key, value in settings.items())]
        result = pareto(*words)
        if result.returncode == 3:
            continue
        assert result.returncode == 0, result.stderr
        with h5py.File(tmp_path / "out.h5") as file:
            close(file["y"][()], want, magnitude, x.shape[1])


def verdicts(tmp_path, op, tensors, **settings):
    """The status of every runnable variant that takes this."""
    return {
        name: evaluate(tmp_path, op, name, tensors, **settings)[1]["status"]
        for name in runnable(op, **settings)
    }


def test_a_row_masked_by_the_lowest_number_weighs_its_keys_alike(tmp_path):
    random = np.random.default_rng(11)
    for seq_q, seq_kv in ((2, 70), (5, 40), (20, 100)):
        tensors = {
            name: random.standard_normal((1, 2, length, 16)).astype(np.float32)
            for name, length in (("q", seq_q), ("k", seq_kv), ("v", seq_kv))
        }
        bias = np.zeros((1, 1, seq_q, seq_kv), np.float32)
        bias[..., 1, :] = np.finfo(np.float32).min
        mean = tensors["v"].astype(np.float64).mean(axis=2)
        variants = ["scalar", "avx2_f32", "avx512_f32"]
        if seq_q <= 16:
            variants += ["avx2_f32_decode", "avx512_f32_decode"]
        for variant in set(variants) & set(runnable("attention")):
            out, _ = evaluate(tmp_path, "attention", variant, {**tensors, "bias": bias})
            np.testing.assert_allclose(out["o"][:, :, 1], mean, atol=1e-5, err_msg=variant)


def test_minima_that_cancel_within_one_group_are_within_bounds(tmp_path):
    x = RANDOM.uniform(1, 900, (5, 17)).astype(np.float32)
    w = RANDOM.uniform(-331, 1, (7, 17)).astype(np.float32)
    states = verdicts(tmp_path, "qgemm", {"x": x, "w": w}, scheme="q4_k_a8")
    assert "scalar" in states and set(states.values()) == {"pass"}, states


def test_minima_summed_apart_are_within_bounds(tmp_path):
    """Positive x over centred w: products and minima cancel, either sum alone is large."""
    x = RANDOM.choice([0.62, 0.75, 0.95], (52, 128)).astype(np.float32)
    w = (RANDOM.standard_normal((40, 128)) * 20).astype(np.float32)
    states = verdicts(tmp_path, "qgemm", {"x": x, "w": w}, scheme="q4_k_a8")
    assert "scalar" in states and set(states.values()) == {"pass"}, states


def test_constant_operands_are_within_bounds(tmp_path):
    """Rows alike count once, and groups alike are rounded alike, whatever the last one holds."""
    x = np.full((17, 2000), 0.37, np.float32)
    w = np.full((64, 2000), 0.71, np.float32)
    for scheme in ("q8_0_a8", "q4_0_a8", "w4a8_g128", "q4_k_a8"):
        states = verdicts(tmp_path, "qgemm", {"x": x, "w": w}, scheme=scheme)
        assert "scalar" in states and set(states.values()) == {"pass"}, (scheme, states)
    for _ in range(20):
        x = np.full((5, 128), RANDOM.random(), np.float32)
        w = RANDOM.standard_normal((7, 128)).astype(np.float32)
        _, verdict = evaluate(tmp_path, "qgemm", "scalar", {"x": x, "w": w}, scheme="fp32")
        assert verdict["status"] == "pass", verdict["message"]
        settings = {"format": "csr", "sparsity": 0}
        _, verdict = evaluate(tmp_path, "sparse", "scalar", {"x": x, "w": w}, **settings)
        assert verdict["status"] == "pass", verdict["message"]


def test_operands_of_few_values_are_within_bounds(tmp_path):
    """Equal products are rounded alike, so that errors do not average out."""
    x = RANDOM.choice([0.1, 0.37, 0.9], (5, 2000)).astype(np.float32)
    w = RANDOM.choice([0.3, 1], (33, 2000)).astype(np.float32)
    for scheme in ("fp32", "bf16", "q8_0", "nf4_g64", "fp8_e4m3_block128"):
        states = verdicts(tmp_path, "qgemm", {"x": x, "w": w}, scheme=scheme)
        assert "scalar" in states and set(states.values()) == {"pass"}, (scheme, states)
    states = verdicts(
        tmp_path, "sparse", {"x": x, "w": w}, format="csr", dtype="fp32", sparsity=0.5
    )
    assert "scalar" in states and set(states.values()) == {"pass"}, states
    q = np.full((1, 4, 1, 64), 0.7, np.float32)
    k = np.full((1, 2, 700, 64), 0.7, np.float32)
    v = RANDOM.choice([0.3, 1], (1, 2, 700, 64)).astype(np.float32)
    for kv_dtype in ("same", "int8"):
        tensors = {"q": q, "k": k, "v": v}
        _, verdict = evaluate(tmp_path, "attention", "scalar", tensors, kv_dtype=kv_dtype)
        assert verdict["status"] == "pass", (kv_dtype, verdict["message"])


def test_weights_that_are_subnormal_after_decoding_are_within_bounds(tmp_path):
    x = (RANDOM.standard_normal((5, 15)) * 900).astype(np.float32)
    w = (RANDOM.standard_normal((7, 15)) * 1e-42).astype(np.float32)
    for scheme in ("nf4_g64", "fp8_e4m3", "nvfp4"):
        states = verdicts(tmp_path, "qgemm", {"x": x, "w": w}, scheme=scheme)
        assert "scalar" in states and set(states.values()) == {"pass"}, (scheme, states)


def test_a_relu_that_drops_nan_is_declared(tmp_path):
    x, w = np.ones((2, 8), np.float32), np.ones((3, 8), np.float32)
    x[1, 3] = np.nan
    tensors = {"x": x, "w": w}
    for op, words in (("qgemm", {"scheme": "fp32"}), ("sparse", {"format": "csr"})):
        for dtype in ("fp32", "bf16"):
            key = "scheme" if op == "qgemm" else "dtype"
            settings = {**words, key: dtype, "activation": "relu"}
            states = verdicts(tmp_path, op, tensors, **settings)
            assert set(states.values()) == {"pass"}, (op, dtype, states)


def test_datasets_that_are_no_inputs_are_named(tmp_path):
    tensors = {"x": np.ones((2, 3)), "w": np.ones((2, 3)), "biass": np.ones(2)}
    with h5py.File(tmp_path / "in.h5", "w") as file:
        for name, value in tensors.items():
            file[name] = value.astype(np.float32)
    words = ["eval", "qgemm", "--in", tmp_path / "in.h5", "--out", tmp_path / "out.h5", "--json"]
    for variant in ("scalar", "reference"):
        result = pareto(*words, "--variant", variant)
        assert result.returncode == 0, result.stderr
        assert "dataset 'biass' is no input of qgemm" in result.stderr
        assert "did you mean 'bias'?" in result.stderr
        assert json.loads(result.stdout)["ignored_datasets"] == ["biass"]


@pytest.mark.parametrize("op", ["qgemm", "sparse", "attention"])
def test_correct_kernels_pass_on_constant_data(tmp_path, op):
    # Equal addends are rounded alike at every step: errors add up n-fold, not √n-fold.
    shapes = {"x": (4, 4096), "w": (24, 4096)}
    if op == "attention":
        shapes = {"q": (1, 2, 4, 64), "k": (1, 2, 700, 64), "v": (1, 2, 700, 64)}
    tensors = {name: np.full(shape, 0.1, np.float32) for name, shape in shapes.items()}
    words = {"scheme": "fp32"} if op == "qgemm" else {"dtype": "fp32"}
    for variant in ["scalar", *(name for name in runnable(op, **words) if "f32" in name)]:
        _, verdict = evaluate(tmp_path, op, variant, tensors, **words)
        assert verdict["status"] == "pass", (variant, verdict)


FP32_ATTENTION = {"scalar", "avx2_f32", "avx512_f32"}


@pytest.mark.parametrize("value", [-1e7, -1e9, -1e18])
def test_rows_masked_by_a_large_number_pass_however_sharp_their_logits(tmp_path, value):
    """fp32 has steps of 64 at 1e9: which key of such a row weighs most is chance."""
    random = np.random.default_rng(3)
    shapes = {"q": (1, 2, 20, 16), "k": (1, 2, 40, 16), "v": (1, 2, 40, 16)}
    tensors = {k: random.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    tensors["q"] *= 30
    tensors["bias"] = np.zeros((1, 1, 20, 40), np.float32)
    tensors["bias"][:, :, 12:] = value
    for name in FP32_ATTENTION & set(runnable("attention")):
        _, found = evaluate(tmp_path, "attention", name, tensors)
        assert found["status"] == "pass", (name, found)


def test_tiny_values_are_within_bounds(tmp_path):
    random = np.random.default_rng(4)
    shapes = {"q": (1, 2, 3, 16), "k": (1, 2, 40, 16), "v": (1, 2, 40, 16)}
    tensors = {k: random.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    tensors["v"] *= np.float32(1e-40)
    for kv_dtype in ("same", "int8", "fp8_e4m3"):
        for name in FP32_ATTENTION & set(runnable("attention")):
            _, found = evaluate(tmp_path, "attention", name, tensors, kv_dtype=kv_dtype)
            assert found["status"] == "pass", (name, kv_dtype, found)
