"""Draws the figures that an experiment asks for: python -m pareto.plot FILE.h5 -o DIR."""

import argparse
import contextlib
import re
import sys
import tomllib
from pathlib import Path

from pareto import style, tables
from pareto.drawing import NoData
from pareto.figures import KINDS
from pareto.load import load

# Exit codes of the program `pareto`; load() tells of a file that cannot be read by ValueError.
BAD_INPUT, CANNOT_WRITE = 2, 4

# Of a file beside others: it leads to no other folder.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

DEFAULT_FIGURES = {
    "frontier": {"kind": "frontier"},
    "roofline": {"kind": "roofline"},
    "bars": {"kind": "bars"},
    "table": {"kind": "table"},
}


def wanted_figures(cases):
    """The [figure.*] tables of the experiments stored in the file, else the usual four."""
    found = {}
    for text in cases.attrs.get("experiments", []):
        for name, keys in tomllib.loads(text).get("figure", {}).items():
            if not NAME.fullmatch(name):
                raise ValueError(f"figure.{name}: a name is of letters, digits, '_', '-' and '.'")
            found[free_name(found, name, keys)] = keys
    return found or DEFAULT_FIGURES


def free_name(found, name, keys):
    """`name`, or with a number where another experiment of the file calls another figure so."""
    number = 1
    unlike = name
    while found.get(unlike, keys) != keys:
        number += 1
        unlike = f"{name}_{number}"
    return unlike


def matching(cases, where):
    """Cases whose columns hold the values, or one of the values, of a figure's key `where`."""
    for column, wanted in where.items():
        if column not in cases:
            raise ValueError(f"where: no column {column!r}")
        values = wanted if isinstance(wanted, list) else [wanted]
        cases = cases[cases[column].isin(values)]
        if cases.empty:
            raise NoData(f"where: {column} = {wanted!r} leaves no case")
    return cases


def selections(cases, keys):
    """(suffix, cases) for each op in the file, or only for the op that the figure names."""
    attrs = cases.attrs
    cases = matching(cases, keys.get("where", {}))
    cases.attrs = attrs
    if "op" in keys and keys["op"] not in set(cases["op"]):
        raise NoData(f"no case has {keys['op']!r} in column 'op'")
    for op in sorted(cases["op"].unique()):
        if keys.get("op", op) == op:
            subset = cases[cases["op"] == op]
            subset.attrs = cases.attrs
            yield ("" if cases["op"].nunique() == 1 else f"_{op}"), subset


def require_columns(cases, name, keys):
    """pareto run refuses other figures; files of other versions may hold them."""
    for key in ("x", "y", "by"):
        if key in keys and keys[key] not in cases:
            raise ValueError(f"figure.{name}: {key}: no column {keys[key]!r}")
    for column in keys.get("columns", []):
        if column not in cases:
            raise ValueError(f"figure.{name}: columns: no column {column!r}")


@contextlib.contextmanager
def told_if_empty(name):
    """A figure without data is one line on stderr and keeps no other from being drawn."""
    try:
        yield
    except NoData as reason:
        print(f"figure.{name}: not drawn: {reason}", file=sys.stderr)


def write_table(cases, keys, target):
    text = tables.latex(matching(cases, keys.get("where", {})), keys.get("columns"))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return [target]


def draw(path, folder):
    """Writes every figure; returns the paths."""
    cases = load(path)
    written = []
    for name, keys in wanted_figures(cases).items():
        require_columns(cases, name, keys)
        with told_if_empty(name):
            if keys["kind"] == "table":
                written += write_table(cases, keys, Path(folder) / f"{name}.tex")
                continue
            for suffix, subset in selections(cases, keys):
                with told_if_empty(f"{name}{suffix}"):
                    figure = KINDS[keys["kind"]](subset, keys, name)
                    written += style.save(figure, folder, f"{name}{suffix}")
    return written


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", help="result file of pareto merge")
    parser.add_argument("-o", "--output", default="figures", help="folder (default: figures)")
    parser.add_argument("--table", action="store_true", help="also print the frontier as text")
    arguments = parser.parse_args()
    try:
        written = draw(arguments.file, arguments.output)
    except (OSError, ValueError) as error:
        print(f"pareto: {error}", file=sys.stderr)
        sys.exit(CANNOT_WRITE if isinstance(error, OSError) else BAD_INPUT)
    for path in written:
        print(path)
    if arguments.table:
        print(tables.text(load(arguments.file)))


if __name__ == "__main__":
    main()
