"""The weights of a network's first layer: one picture per unit, or a heat map of features by units.

A model comes in, a panel is drawn. Orange is positive, blue is negative, nothing is white; one scale for all units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model import Model
from .style import SMALL, Panel, Style, short, title

__all__ = ["draw_picture", "draw_weights", "grid_for"]

Array = NDArray[Any]

MOST_UNITS = 32
CUT = 99.5  # per cent of the weights that lie within the scale


def draw_weights(panel: Panel, model: Model, features: Sequence[str], style: Style) -> None:
    """The weights of the first layer: one picture per unit, or features by units; orange is positive, blue negative."""
    W = model.network.layers_of(model.parameters)[0][0]
    limit = _limit(W)
    pictures = model.image_shape is not None
    names = model.class_names if W.shape[1] == len(model.class_names) and len(model.network.sizes) == 2 else ()
    chosen = np.arange(W.shape[1])
    kind = "pieces of maxout units" if model.network.activations[0] == "maxout" else "units"
    words = f"{W.shape[1]} {kind}" if W.shape[1] > 1 else "1 unit"
    if pictures and len(chosen) > MOST_UNITS:
        strongest = np.argsort(-np.linalg.norm(W.astype(np.float64), axis=0), kind="stable")[:MOST_UNITS]
        chosen = np.sort(strongest)
        words = f"the {MOST_UNITS} strongest of {W.shape[1]} {kind}"
    beyond = float((np.abs(W) > limit).mean())
    words += ", all on one scale" + (f", {100 * beyond:.1g} % of the weights beyond it" if beyond else "")
    title(panel, "First-layer weights", words, style)
    _draw_scale(panel, limit, style)
    if not pictures:
        _draw_heat_map(panel, W, limit, features, names, style)
        return
    height, width = model.image_shape or (1, 1)
    caption = 0.15 if names else 0.0
    canvas = panel.canvas(top=0.4)
    columns, side = grid_for(len(chosen), panel.width, panel.height - 0.4, caption, height / width)
    for place, unit in enumerate(chosen):
        left, top = (place % columns) * (side + 0.06), (place // columns) * (side * height / width + 0.06 + caption)
        draw_picture(
            canvas, W[:, unit].reshape(height, width), left, top, side, style,
            cmap=_diverging(style), vmin=-limit, vmax=limit,
        )  # fmt: skip
        if names:
            canvas.text(
                left + side / 2, top + side * height / width + 0.03, short(names[unit], int(side / 0.065)),
                ha="center", va="top", fontsize=SMALL,
            )  # fmt: skip


def grid_for(
    n: int, width: float, height: float, caption: float = 0.0, shape: float = 1.0, gap: float = 0.06
) -> tuple[int, float]:
    """Columns of a grid of n pictures, and how wide each may be to fill a rectangle best.

    Parameters
    ----------
    n : int
    width, height : float
        of the rectangle
    caption, gap : float
        below each picture; between two of them
    shape : float
        a picture's height by its width

    Examples
    --------
    >>> grid_for(8, 4.0, 2.0, gap=0.0)
    (4, 1.0)
    """
    best = (1, 0.0)
    for columns in range(1, n + 1):
        rows = math.ceil(n / columns)
        across = (width - gap * (columns - 1)) / columns
        down = ((height - gap * (rows - 1)) / rows - caption) / shape
        if min(across, down) > best[1]:
            best = (columns, min(across, down))
    return best


def _diverging(style: Style) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    dark = style.ground != "#ffffff"
    ends = (
        (style.minus, style.ground, style.plus)
        if dark
        else ("#0f3f82", style.minus, style.ground, style.plus, "#7a2f00")
    )
    return LinearSegmentedColormap.from_list("fastbp", ends)


def _limit(W: Array) -> float:
    """The end of the colour scale, in two digits: nearly all weights lie within it."""
    value = float(np.percentile(np.abs(W), CUT)) if W.size else 0.0
    if value <= 0:
        return float(np.abs(W).max(initial=0.0)) or 1.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit - 1e-9) * unit


def _draw_scale(panel: Panel, limit: float, style: Style) -> None:
    """The colours in a row, from the lowest weight to the highest."""
    width, text = 0.8, f"{limit:.2g}"
    right = panel.width - 0.05 - 0.066 * len(text)
    axes = panel.axes(left=right - width, top=0.03, right=panel.width - right, bottom=panel.height - 0.14)
    axes.imshow(np.linspace(-1, 1, 129)[None], cmap=_diverging(style), aspect="auto", interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color=style.faint, linewidth=0.6)
    panel.write(right - width - 0.05, 0.125, f"-{text}", fontsize=SMALL, color=style.quiet, ha="right")
    panel.write(right + 0.05, 0.125, text, fontsize=SMALL, color=style.quiet)


def draw_picture(canvas: Any, pixels: Array, left: float, top: float, side: float, style: Style, **look: Any) -> None:
    """One picture on a canvas in inches, with a thin frame."""
    from matplotlib.patches import Rectangle

    height = side * pixels.shape[0] / pixels.shape[1]
    canvas.imshow(pixels, extent=(left, left + side, top + height, top), interpolation="nearest", aspect="auto", **look)
    canvas.add_patch(
        Rectangle((left, top), side, height, fill=False, edgecolor=style.faint, linewidth=0.6, clip_on=False)
    )


def _draw_heat_map(
    panel: Panel, W: Array, limit: float, features: Sequence[str], names: Sequence[str], style: Style
) -> None:
    labels = [short(name, 14) for name in features] or [f"x{place}" for place in range(len(W))]
    step = math.ceil(len(W) / 24)
    left = 0.12 + 0.062 * max(map(len, labels))
    axes = panel.axes(left=left, top=0.48, bottom=0.36, right=0.05)
    axes.imshow(W, cmap=_diverging(style), vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(0, len(W), step), labels[::step])
    units = math.ceil(W.shape[1] / 16)
    texts = [short(name, 10) for name in names] or [str(unit) for unit in range(1, W.shape[1] + 1)]
    axes.set_xticks(range(0, W.shape[1], units), texts[::units])
    axes.tick_params(length=0, colors=style.text, labelsize=SMALL)
    axes.set_xlabel("class" if names else "unit", loc="right", labelpad=1)
    for spine in axes.spines.values():
        spine.set(visible=True, color=style.faint, linewidth=0.6)
