"""A trained network as one HTML file: draw in it and see every layer at work, without a server and without a network.

In: a `Model` of square pictures. Out: a page that holds the weights, the formulas in JavaScript and nothing from
elsewhere; its Content-Security-Policy lets nothing else in. Refused: models of anything but square pictures, functions
of a user's own, and networks that make a page larger than a few megabytes.

`parts` puts it together from the files in `templates/`, which say what each of them does. The part in which
one draws is that of a run's report, too.
"""

from __future__ import annotations

import html
import os
from base64 import b64encode
from typing import Any

import numpy as np

from ..activations import name_of
from ..data.digits import make_digits
from ..errors import UsageError
from ..files import write_atomically
from ..model import Model
from ..preprocessing import Scaling
from .parts import filled, html_file, numbers, template

__all__ = [
    "DRAWING_SCRIPTS",
    "DRAWING_STYLES",
    "MAX_BYTES",
    "check_drawable",
    "described",
    "facts_of",
    "is_share",
    "page_bytes",
    "to_page",
]

MAX_BYTES = 6_000_000
DRAWING_STYLES = ("frame.css", "drawing.css")
DRAWING_SCRIPTS = ("numbers.js", "elements.js", "network.js", "centring.js", "pad.js", "views.js", "drawing.js")
AS_THEY_ARE = ("fashion", "kmnist")  # pictures of these are not cut out and centred
DIGITS = tuple("0123456789")


def to_page(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model as an HTML file in which one draws and sees what the network makes of it; it is replaced whole.

    The same model gives the same bytes: 119 KB for 784-16-16-10. The page computes in float64 with the weights in
    float32, and its outputs agree with `Model.outputs` to about 1e-6.

    Parameters
    ----------
    model : Model
        of square pictures, with fastbp's own activations
    path : path

    Raises
    ------
    UsageError
        samples that are no square pictures; an activation of a user's own; a page of more than 6 MB
    FastbpError
        the file cannot be written; an older one is untouched

    Examples
    --------
    >>> import fastbp
    >>> model = fastbp.train("digits", epochs=1).model  # doctest: +SKIP
    >>> fastbp.to_page(model, "digits.html")  # doctest: +SKIP
    """
    write_atomically(path, page_bytes(model))


def page_bytes(model: Model) -> bytes:
    """The contents of the file that `to_page` writes, with the same errors."""
    check_drawable(model)
    body = filled(template("page.html"), {"facts": html.escape(facts_of(model)), "drawing": template("drawing.html")})
    title = f"fastbp: {'-'.join(map(str, model.network.sizes))}"
    page = html_file(title, body, DRAWING_STYLES, DRAWING_SCRIPTS, {"model": described(model)})
    if len(page) > MAX_BYTES:
        raise UsageError(
            f"the page would take {len(page):,} bytes, and at most {MAX_BYTES:,} are written; use a network with fewer "
            f"than the {model.network.n_parameters:,} weights of this one"
        )
    return page


def check_drawable(model: Model) -> None:
    """UsageError for a model that no page can show at work."""
    for each in model.network.customs:
        raise UsageError(
            f"activation {each.name} is a function of your own, which a page cannot hold; train with one of fastbp's"
        )
    shape = model.image_shape
    if shape is None or shape[0] != shape[1]:
        got = "this one's are no pictures" if shape is None else f"this one's have {shape[0]} x {shape[1]} pixels"
        raise UsageError(f"a page is for models of square pictures, which can be drawn, and {got}; use FILE.onnx")
    if model.network.n_parameters * 4 > MAX_BYTES:  # base64 takes more than that; large ones are not even tried
        raise UsageError(
            f"the page would take more than {MAX_BYTES:,} bytes; use a network with fewer than the "
            f"{model.network.n_parameters:,} weights of this one"
        )


def facts_of(model: Model) -> str:
    """The network in one sentence: ``784-16-10: 12,730 weights and biases, sigmoid, softmax, trained on mnist.``"""
    network, sizes = model.network, "-".join(map(str, model.network.sizes))
    learned = f", trained on {model.data_name}" if model.data_name else ""
    activations = ", ".join(map(name_of, network.activations))
    return f"{sizes}: {network.n_parameters:,} weights and biases, {activations}{learned}."


def is_share(model: Model) -> bool:
    """True where an output is a share of certainty, which is shown in percent."""
    return bool(model.class_names) and model.network.activations[-1] in ("softmax", "sigmoid")


def described(model: Model) -> dict[str, Any]:
    """The model as templates/network.js reads it, and what the page needs beside it."""
    network, names = model.network, list(model.class_names)
    pairs = network.layers_of(model.parameters)
    return {
        "side": model.image_shape[0] if model.image_shape else 0,
        "centre": not any(name in model.data_name.lower() for name in AS_THEY_ARE),
        "classNames": names,
        "names": names or [f"output {j}" for j in range(1, network.sizes[-1] + 1)],
        "percent": is_share(model),
        "inputs": _scaling(model.inputs),
        "targets": None if model.targets is None else _scaling(model.targets),
        "layers": [
            {"W": numbers(W), "b": numbers(b), "activation": activation}
            for (W, b), activation in zip(pairs, network.activations, strict=True)
        ],
        "samples": _samples(model),
    }


def _scaling(scaling: Scaling) -> dict[str, Any]:
    """Shift and scale, in float64: a small difference of large numbers may matter."""
    pair = {"shift": scaling.shift, "scale": scaling.scale}
    return {name: numbers(each, "float64") if isinstance(each, np.ndarray) else each for name, each in pair.items()}


def _samples(model: Model) -> list[dict[str, str]]:
    """For networks of digits, the first of each that the package draws itself; for others, none."""
    if model.image_shape != (28, 28) or model.class_names != DIGITS:
        return []
    _, _, images, labels = make_digits(0, 100)
    firsts = [images[int(np.argmax(labels == digit))] for digit in range(10)]
    return [{"name": str(digit), "pixels": b64encode(each.tobytes()).decode()} for digit, each in enumerate(firsts)]
