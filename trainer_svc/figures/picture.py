"""What the pictures of a report have in common."""

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

matplotlib.use("Agg")
import matplotlib.pyplot as plt

INK, ACCENT, QUIET = "#22313f", "#c0562f", "#8aa0b0"
# Of parts of a whole, in the order of their size.
PARTS = (ACCENT, INK, QUIET, "#d9a441", "#5b8c5a", "#b7a9c9")


def panels(rows: int, columns: int, inches: tuple[float, float], **options: Any) -> tuple[Figure, Any]:
    """The figure and its axes, as plt.subplots gives them."""
    return plt.subplots(rows, columns, figsize=inches, layout="constrained", **options)


def label(axis: Axes, title: str, x: str, y: str) -> None:
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path
