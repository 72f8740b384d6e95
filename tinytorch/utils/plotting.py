"""Draw a training history with matplotlib, without a display and without global state."""

import os
from typing import Any

from matplotlib.figure import Figure


def draw_history(history: dict[str, list[Any]], path: str | os.PathLike[str] | None) -> Figure:
    """Draw one panel for each figure, training and validation together.

    Args:
        history: Name to values, epoch by epoch; "val_loss" goes with "loss".
        path: Where to write the picture, if anywhere: .png, .svg or .pdf.
    """
    curves = {k: v for k, v in history.items() if v and isinstance(v[0], int | float)}
    panels = list(dict.fromkeys(name.removeprefix("val_") for name in curves)) or ["loss"]
    figure = Figure(figsize=(5 * len(panels), 3.5), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key in curves:
                axes.plot(range(1, len(curves[key]) + 1), curves[key], marker=".", label=label)
                axes.legend()
        axes.set(xlabel="epoch", title=name)
    if path is not None:
        figure.savefig(path)
    return figure
