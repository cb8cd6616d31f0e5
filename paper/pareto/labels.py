"""What people read instead of column names, and how rows are named."""

import pandas as pd

LABELS = {
    "time_median_s": "time per call (s)",
    "total_rel_fro": "total error, relative Frobenius",
    "kernel_rel_fro": "kernel error, relative Frobenius",
    "compression_rel_fro": "compression error, relative Frobenius",
    "total_rms": "total error, RMS",
    "kernel_rms": "kernel error, RMS",
    "total_sqnr_db": "signal-to-noise ratio (dB)",
    "flops_per_s": "operations per second",
    "bytes_per_s": "bytes per second",
    "ceiling_fraction": "fraction of the measured ceiling",
    "packed_bytes": "packed bytes",
    "threads": "threads",
    "seq_q": "queries per sequence",
    "seq_kv": "keys per sequence",
    "M": "tokens M",
    "sparsity": "sparsity",
}

# Endings of the columns of which more is better.
BIGGER_IS_BETTER = (
    "_per_s",
    "_sqnr_db",
    "_cosine",
    "ceiling_fraction",
    "compression_ratio",
    "speedup",
)

# Columns that say which arithmetic a row is about, in the order in which they name it.
ARITHMETIC = ["scheme", "format", "dtype", "kv_dtype"]
# What else cases may differ in that are compared: how operands are compressed.
COMPRESSION = ["method", "n", "m", "theta", "rank"]
SIZES = ["M", "N", "K", "batch", "heads_q", "heads_kv", "seq_q", "seq_kv", "head_dim", "sparsity"]


def label(column):
    return LABELS.get(column, column.replace("_", " "))


def bigger_is_better(column):
    return column.endswith(BIGGER_IS_BETTER)


def arithmetic(row):
    """'w8a8' or 'csr bf16': the scheme or format and data types of a row."""
    words = [str(row[c]) for c in ARITHMETIC if c in row and isinstance(row[c], str) and row[c]]
    if row.get("op") == "qgemm":
        return words[0]
    return " ".join(w for w in words if w != "same")


def _word(column, value):
    """'rtn' or 'rank=64'; nothing for a key of another op."""
    if pd.isna(value):
        return ""
    return value if isinstance(value, str) else f"{column}={value:g}"


def tell_apart(names, rows, x=None):
    """`names` of the rows, longer by the keys but x in which rows of an op and name differ."""
    for column in ARITHMETIC + COMPRESSION:
        if column == x or column not in rows:
            continue
        words = pd.Series([_word(column, value) for value in rows[column]], rows.index, dtype=str)
        differ = words.groupby([rows["op"], names]).transform("nunique") > 1
        names = names.where(~differ, names + " " + words)
    return names.str.strip()


def arithmetics(rows):
    """arithmetic() of each row; longer where it alone would name unlike arithmetics alike."""
    names = pd.Series([arithmetic(row) for _, row in rows.iterrows()], rows.index, dtype=str)
    return tell_apart(names, rows)


def line_names(rows, by, x):
    """The value of `by` of each row, with what keeps different problems out of one line."""
    names = rows[by].astype(str)
    return tell_apart(names + " " + arithmetics(rows) if by == "variant" else names, rows, x)


# Short names in titles, where space is scarce.
SHORT = {"head_dim": "d", "seq_q": "queries", "seq_kv": "keys"}


def shortened(number):
    """4096 as '4k', 0.5 as '0.5'."""
    if number >= 1024 and number % 1024 == 0:
        return f"{number / 1024:g}k"
    return f"{number:g}"


def problem(row, varying=()):
    """'M=16 N=4096 K=4096': the sizes of a row, without the columns that vary."""
    sizes = {}
    for column in SIZES:
        value = row.get(column)
        if column not in varying and value is not None and not pd.isna(value):
            sizes[column] = f"{value:g}"
    if sizes.get("batch") == "1":
        del sizes["batch"]
    for name, first, second in (("heads", "heads_q", "heads_kv"), ("seq", "seq_q", "seq_kv")):
        if first in sizes and sizes[first] == sizes.get(second):
            sizes = {name if k == first else k: v for k, v in sizes.items() if k != second}
    return " ".join(f"{SHORT.get(name, name)}={value}" for name, value in sizes.items())
