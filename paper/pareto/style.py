"""How every figure looks: one column of a paper, colour-blind safe, vector fonts."""

import io
import itertools
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 (the backend must be chosen first)

COLUMN_WIDTH_IN = 3.3
# Okabe & Ito's palette, black first; each colour goes with a marker of its own.
COLOURS = [
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#D55E00",
    "#0072B2",
    "#CC79A7",
    "#8C6D00",
]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "h"]
GREY = "#B0B0B0"

RC = {
    "figure.figsize": (COLUMN_WIDTH_IN, 2.5),
    "figure.constrained_layout.use": True,
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 6.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "lines.linewidth": 1,
    "lines.markersize": 4,
    "axes.grid": True,
    "grid.linewidth": 0.3,
    "grid.color": "#D8D8D8",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # reviewers' systems reject Type 3 fonts
    "ps.fonttype": 42,
    "savefig.dpi": 300,
}


def appearance(names):
    """{name: (colour, marker)}: the same for the same list of names, distinct in both."""
    pairs = itertools.product(MARKERS, COLOURS)
    # Walking both cycles together keeps neighbours apart in colour and in marker.
    cycle = [
        (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)])
        for i in range(len(MARKERS) * len(COLOURS) // 2)
    ]
    cycle += [(colour, marker) for marker, colour in pairs if (colour, marker) not in cycle]
    return dict(zip(sorted(names), cycle, strict=False))


def new_figure(height_in=2.5):
    plt.rcParams.update(RC)
    return plt.subplots(figsize=(COLUMN_WIDTH_IN, height_in))


def new_panels(heights_in, margin_in):
    """Axes one below the other; `heights_in` are their parts of the figure."""
    plt.rcParams.update(RC)
    figure, axes = plt.subplots(
        len(heights_in),
        figsize=(COLUMN_WIDTH_IN, sum(heights_in) + margin_in),
        height_ratios=heights_in,
        squeeze=False,
    )
    return figure, axes[:, 0]


def save(figure, folder, name):
    """Writes NAME.pdf and NAME.png; returns their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.pdf", folder / f"{name}.png"]
    for path in paths:
        # Creation dates would make equal figures differ.
        metadata = {"CreationDate": None} if path.suffix == ".pdf" else None
        # Drawn in memory: on a full disk the library's writers fail by errors of their own.
        image = io.BytesIO()
        figure.savefig(image, format=path.suffix[1:], metadata=metadata)
        path.write_bytes(image.getvalue())
    plt.close(figure)
    return paths
