"""How a page is put together: templates, data and a policy become one HTML file that needs nothing from elsewhere.

Names of templates and values come in, the bytes of a file in ASCII go out. Texts are escaped, data stands in JSON
script elements with <, > and & escaped, so that no name can become markup; the Content-Security-Policy lets nothing run
but the page's own script and style, told by their hashes. The files in `templates/` say what each of them does.
"""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__

__all__ = ["filled", "html_file", "numbers", "template"]


def html_file(title: str, body: str, styles: Sequence[str], scripts: Sequence[str], data: Mapping[str, Any]) -> bytes:
    """The contents of the file.

    Parameters
    ----------
    title : str
    body : str
        HTML, of templates
    styles, scripts : sequence of str
        names of templates, in their order
    data : mapping
        id of a script element -> what stands in it as JSON; finite numbers only

    Examples
    --------
    >>> page = html_file("a < b", "<main></main>", ["frame.css"], ["numbers.js"], {"model": {"name": "</script>"}})
    >>> b"<title>a &lt; b</title>" in page, page.count(b"</script>")
    (True, 2)
    """
    style, script = ("\n".join(map(template, names)) for names in (styles, scripts))
    parts = {
        "policy": _policy(style, script),
        "title": html.escape(title),
        "style": style,
        "body": body,
        "origin": f"Written by fastbp {__version__}. Everything is computed in this page; nothing leaves it.",
        "data": "\n".join(
            f'<script type="application/json" id="{name}">{_script_data(value)}</script>'
            for name, value in data.items()
        ),
        "script": script,
    }
    return filled(template("frame.html"), parts).encode("ascii", "xmlcharrefreplace")


def filled(text: str, parts: Mapping[str, str]) -> str:
    """text with {{name}} replaced, in one pass: what is put in is not searched.

    Examples
    --------
    >>> filled("<p>{{a}}, {{b}}</p>", {"a": "{{b}}", "b": "2"})
    '<p>{{b}}, 2</p>'
    """
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], text)


def template(name: str) -> str:
    """A file of the page, with one newline per line wherever it was checked out, and in ASCII."""
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def numbers(array: NDArray[Any], dtype: str = "float32") -> dict[str, str]:
    """Numbers as little-endian bytes, in base64, as templates/numbers.js reads them: uint8, float32 or float64."""
    little = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<"))
    return {"type": dtype, "base64": b64encode(little.tobytes()).decode()}


def _policy(style: str, script: str) -> str:
    """Nothing may be loaded or run but the page's own style and script, told by their hashes."""
    hashes = [b64encode(sha256(text.encode()).digest()).decode() for text in (script, style)]
    return (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _script_data(value: Any) -> str:
    """JSON in which nothing can end a script element or begin a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
