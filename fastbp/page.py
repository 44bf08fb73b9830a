"""A trained network as one HTML file: draw in it and see every layer at work, without a server and without a network.

In: a `Model` of square pictures. Out: a page that holds the weights, the formulas in JavaScript and nothing from
elsewhere; its Content-Security-Policy lets nothing else in. Refused: models of anything but square pictures, functions
of a user's own, and networks that make a page larger than a few megabytes.

The page is put together from the files in `templates/`, which say what each of them does. Data stands in a JSON script
element with <, > and & escaped, so that no class name can become markup.
"""

from __future__ import annotations

import html
import json
import os
import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import __version__
from .data.digits import make_digits
from .errors import UsageError
from .files import write_atomically
from .model import Model
from .preprocessing import Scaling

__all__ = ["MAX_BYTES", "page_bytes", "to_page"]

Array = NDArray[Any]

MAX_BYTES = 6_000_000
SCRIPTS = ("network.js", "centring.js", "pad.js", "views.js", "page.js")
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
    _check(model)
    style, script = _template("page.css"), "\n".join(_template(name) for name in SCRIPTS)
    parts = {
        "policy": _policy(style, script),
        "title": html.escape(f"fastbp: {'-'.join(map(str, model.network.sizes))}"),
        "style": style,
        "script": script,
        "model": _as_script_data(_described(model)),
    }
    # in one pass: what is put in is not searched
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _template("page.html")).encode()
    if len(page) > MAX_BYTES:
        raise UsageError(
            f"the page would take {len(page):,} bytes, and at most {MAX_BYTES:,} are written; use a network with fewer "
            f"than the {model.network.n_parameters:,} weights of this one"
        )
    return page


def _check(model: Model) -> None:
    """UsageError for a model that a page cannot show."""
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


def _template(name: str) -> str:
    """A file of the page, with one newline per line wherever it was checked out, and in ASCII."""
    return (files("fastbp") / "templates" / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _policy(style: str, script: str) -> str:
    """Nothing may be loaded or run but the page's own style and script, told by their hashes."""
    hashes = [b64encode(sha256(text.encode()).digest()).decode() for text in (script, style)]
    return (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _as_script_data(value: Any) -> str:
    """JSON in which nothing can end a script element or begin a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _described(model: Model) -> dict[str, Any]:
    """The model as templates/network.js reads it, and the words that the page says about it."""
    network, names = model.network, list(model.class_names)
    pairs = network.layers_of(model.parameters)
    sizes = "-".join(map(str, network.sizes))
    learned = f", trained on {model.data_name}" if model.data_name else ""
    return {
        "side": model.image_shape[0] if model.image_shape else 0,
        "centre": not any(name in model.data_name.lower() for name in AS_THEY_ARE),
        "classNames": names,
        "names": names or [f"output {j}" for j in range(1, network.sizes[-1] + 1)],
        "percent": bool(names) and network.activations[-1] in ("softmax", "sigmoid"),
        "inputs": _scaling(model.inputs),
        "targets": None if model.targets is None else _scaling(model.targets),
        "layers": [
            {"W": _numbers(W), "b": _numbers(b), "activation": activation}
            for (W, b), activation in zip(pairs, network.activations, strict=True)
        ],
        "samples": _samples(model),
        "facts": f"{sizes}: {network.n_parameters:,} weights and biases, {', '.join(network.activations)}{learned}.",
        "origin": f"Written by fastbp {__version__}. Everything is computed in this page; nothing leaves it.",
    }


def _numbers(array: Array, dtype: str = "float32") -> dict[str, str]:
    """Numbers as little-endian bytes, in base64."""
    little = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<"))
    return {"type": dtype, "base64": b64encode(little.tobytes()).decode()}


def _scaling(scaling: Scaling) -> dict[str, Any]:
    """Shift and scale, in float64: a small difference of large numbers may matter."""
    pair = {"shift": scaling.shift, "scale": scaling.scale}
    return {name: _numbers(each, "float64") if isinstance(each, np.ndarray) else each for name, each in pair.items()}


def _samples(model: Model) -> list[dict[str, str]]:
    """For networks of digits, the first of each that the package draws itself; for others, none."""
    if model.image_shape != (28, 28) or model.class_names != DIGITS:
        return []
    _, _, images, labels = make_digits(0, 100)
    firsts = [images[int(np.argmax(labels == digit))] for digit in range(10)]
    return [{"name": str(digit), "pixels": b64encode(each.tobytes()).decode()} for digit, each in enumerate(firsts)]
