"""Draws the figures that an experiment asks for: python -m pareto.plot FILE.h5 -o DIR."""

import argparse
import sys
import tomllib
from pathlib import Path

from pareto import style, tables
from pareto.figures import KINDS
from pareto.load import load

# Exit codes of the program `pareto`; load() tells of a file that cannot be read by ValueError.
BAD_INPUT, CANNOT_WRITE = 2, 4

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
        found.update(tomllib.loads(text).get("figure", {}))
    return found or DEFAULT_FIGURES


def matching(cases, where):
    """Cases whose columns hold the values, or one of the values, of a figure's key `where`."""
    for column, wanted in where.items():
        if column not in cases:
            raise ValueError(f"where: no column {column!r}")
        values = wanted if isinstance(wanted, list) else [wanted]
        cases = cases[cases[column].isin(values)]
    return cases


def selections(cases, keys):
    """(suffix, cases) for each op in the file, or only for the op that the figure names."""
    attrs = cases.attrs
    cases = matching(cases, keys.get("where", {}))
    cases.attrs = attrs
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


def draw(path, folder):
    """Writes every figure; returns the paths."""
    cases = load(path)
    written = []
    for name, keys in wanted_figures(cases).items():
        require_columns(cases, name, keys)
        if keys["kind"] == "table":
            target = Path(folder) / f"{name}.tex"
            target.parent.mkdir(parents=True, exist_ok=True)
            chosen = matching(cases, keys.get("where", {}))
            target.write_text(tables.latex(chosen, keys.get("columns")))
            written.append(target)
            continue
        for suffix, subset in selections(cases, keys):
            figure = KINDS[keys["kind"]](subset, keys, name)
            if figure is None:
                print(f"{name}{suffix}: no case of {path} fits this figure", file=sys.stderr)
                continue
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
