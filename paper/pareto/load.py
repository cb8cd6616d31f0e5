"""Reads the result files of `pareto merge` into pandas."""

import json

import h5py
import numpy as np
import pandas as pd

SCHEMA_VERSION = 1


def _column(dataset):
    """One column; missing integers and booleans become <NA>."""
    values = dataset[()]
    if values.dtype == object or values.dtype.kind == "S":
        return pd.Series([v.decode("utf-8") if isinstance(v, bytes) else v for v in values])
    if values.dtype.kind not in "iu":
        return pd.Series(values)
    boolean = values.dtype.itemsize == 1
    series = pd.Series(values.astype("int64"), dtype="Int64")
    if "_FillValue" in dataset.attrs:
        series[series == int(np.ravel(dataset.attrs["_FillValue"])[0])] = pd.NA
    return series.astype("boolean") if boolean else series


def _is_column(name):
    """Dimension scales, samples and provenance are no columns of a case."""
    return name not in ("run", "sample", "provenance", "row_size") and not name.startswith(
        ("sample_", "provenance_")
    )


def _text(value):
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _open(path):
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: not a result file: {error}") from error
    version = file.attrs.get("schema_version")
    if version is None or "run" not in file:
        file.close()
        raise ValueError(f"{path}: not a result file of pareto merge")
    if int(np.ravel(version)[0]) != SCHEMA_VERSION:
        file.close()
        raise ValueError(
            f"{path}: schema version {int(np.ravel(version)[0])}; "
            f"this package reads {SCHEMA_VERSION}"
        )
    return file


def load(path):
    """One row per case, one column per dataset of dimension `run`.

    `attrs["ceilings"]` of the table is {name: {threads: rate}} of the first run in the file,
    `attrs["ceilings_of_run"]` the list of all runs', by `provenance_index` of a case;
    `attrs["experiments"]` the experiments' TOML texts.
    """
    with _open(path) as file:
        columns = {
            name: _column(dataset)
            for name, dataset in file.items()
            if isinstance(dataset, h5py.Dataset) and _is_column(name)
        }
        table = pd.DataFrame(columns)
        runs = _ceilings(file)
        table.attrs["ceilings"] = next((rates for rates in runs if rates), {})
        table.attrs["ceilings_of_run"] = runs
        table.attrs["experiments"] = _texts(file, "provenance_experiment")
    return table


def load_samples(path):
    """One row per sample: case, seconds per call, block, round and process."""
    with _open(path) as file:
        cases = [_text(v) for v in file["case"][()]]
        sizes = file["row_size"][()]
        return pd.DataFrame(
            {
                "case": np.repeat(cases, sizes),
                "time_s": file["sample_time_s"][()],
                "block": file["sample_block"][()],
                "round": file["sample_round"][()],
                "process": file["sample_process"][()],
            }
        )


def _texts(file, name):
    if name not in file:
        return []
    return [text for text in (_text(v) for v in file[name][()]) if text]


def _ceilings(file):
    if "provenance_ceilings" not in file:
        return []
    return [_rates(_text(value)) for value in file["provenance_ceilings"][()]]


def _rates(text):
    return {
        name: {int(threads): _rate(entry) for threads, entry in by_threads.items()}
        for name, by_threads in (json.loads(text) if text else {}).items()
    }


def _rate(entry):
    return entry["rate"] if isinstance(entry, dict) else entry
