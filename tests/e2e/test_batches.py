"""What a sequence gives does not depend on what else is in its batch, nor on who computes it."""

import numpy as np
import pytest
from test_eval import evaluate, runnable

# One pass over up to 64 keys takes rows of several sequences at once: 12 of 5 rows each do not fit
# the 48 that it holds.
BATCH, HEADS, KEYS, WIDTH = 12, 5, 50, 32


@pytest.mark.parametrize(
    ("variant", "dtype"),
    [
        ("avx512_f32", "fp32"),
        ("avx512_bf16", "bf16"),
        ("avx2_f32", "fp32"),
        ("avx2_f32", "bf16"),
    ],
)
def test_a_sequence_alone_gives_the_same_bits(tmp_path, variant, dtype):
    if variant not in runnable("attention"):
        pytest.skip(f"{variant} cannot run here")
    random = np.random.default_rng(1)
    shapes = {
        "q": (BATCH, HEADS, 1, WIDTH),
        "k": (BATCH, 1, KEYS, WIDTH),
        "v": (BATCH, 1, KEYS, WIDTH),
    }
    tensors = {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    together, _ = evaluate(tmp_path, "attention", variant, tensors, dtype=dtype)
    for b in range(BATCH):
        own = {name: value[b : b + 1] for name, value in tensors.items()}
        alone, _ = evaluate(tmp_path, "attention", variant, own, dtype=dtype)
        for output in ("o", "lse"):
            np.testing.assert_array_equal(alone[output], together[output][b : b + 1])
