"""Result files as pandas tables; results/README.md explains the columns."""

import json

import h5py
import numpy as np
import pandas as pd

SCHEMA_VERSION = 1
MISSING_INTEGER = -9223372036854775806
MISSING_BOOL = -127


def open_result(path):
    """The HDF5 file; ValueError if it is no result file of this schema version."""
    file = h5py.File(path, "r", locking=False)
    version = file.attrs.get("schema_version")
    if version is None or "run" not in file:
        file.close()
        raise ValueError(f"{path}: not a result file; merge case files first (pareto merge)")
    if version != SCHEMA_VERSION:
        file.close()
        raise ValueError(f"{path}: schema version {version}; this package reads {SCHEMA_VERSION}")
    return file


def is_column(name):
    """True for a dataset over the dimension `run`."""
    if name in ("run", "sample", "provenance", "row_size"):
        return False
    return name == "provenance_index" or not name.startswith(("sample_", "provenance_"))


def column(dataset):
    """Values with pandas' own marks for what is missing.

    Integers with gaps become floats with NaN, booleans with gaps nullable booleans.
    """
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return dataset.asstr()[()]
    values = dataset[()]
    if values.dtype == np.int8:
        gaps = values == MISSING_BOOL
        flags = pd.array(values == 1, dtype="boolean")
        flags[gaps] = pd.NA
        return flags if gaps.any() else np.asarray(values == 1)
    if values.dtype == np.int64:
        gaps = values == MISSING_INTEGER
        return np.where(gaps, np.nan, values) if gaps.any() else values
    return values


def texts(file, section):
    """The distinct texts of a provenance section, in the order of the file."""
    name = f"provenance_{section}"
    if name not in file:
        return []
    return list(dict.fromkeys(text for text in file[name].asstr()[()] if text))


def ceilings(file):
    """{"fma_fp32": {threads: operations or bytes per second}} of the file's first run.

    A machine measures them anew in every run; figures show one set of lines.
    """
    found = texts(file, "ceilings")
    if not found:
        return {}
    return {
        name: {int(threads): entry["rate"] for threads, entry in by_threads.items()}
        for name, by_threads in json.loads(found[0]).items()
    }


def load(path):
    """One row per case and machine, one column per column of the file.

    `attrs` holds `experiments` (TOML texts), `ceilings`, `machines` and `builds` (JSON, decoded).
    """
    with open_result(path) as file:
        # Creation order is the order of the table of columns.
        names = [name for name in file if is_column(name)]
        table = pd.DataFrame({name: column(file[name]) for name in names})
        table.attrs["experiments"] = texts(file, "experiment")
        table.attrs["ceilings"] = ceilings(file)
        table.attrs["machines"] = [json.loads(text) for text in texts(file, "machine")]
        table.attrs["builds"] = [json.loads(text) for text in texts(file, "build")]
    return table


def load_samples(path):
    """One row per stored sample: case, variant, time_s, calls, block, round, process, start_s."""
    with open_result(path) as file:
        sizes = file["row_size"][()]
        samples = {
            name.removeprefix("sample_"): file[name][()]
            for name in file
            if name.startswith("sample_")
        }
        words = {
            name: np.repeat(file[name].asstr()[()], sizes)
            for name in ("case", "variant", "group_run")
        }
    return pd.DataFrame(words | samples)
