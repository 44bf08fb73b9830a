"""Pages of HTML as tests look at them: their elements, and what may run and load in them."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

__all__ = ["NASTY", "Page"]

NASTY = ("</script><script>alert(1)", "<!-- <b>", "{{script}} & \u6c49", "a\"b'c")


class Page(HTMLParser):
    """The elements of a page as (name, attributes, text)."""

    CDATA_CONTENT_ELEMENTS = ("script", "style")

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(page.decode("ascii"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}", {}, ""))

    def handle_data(self, data: str) -> None:
        if self.elements:
            tag, attributes, text = self.elements[-1]
            self.elements[-1] = (tag, attributes, text + data)

    def texts(self, wanted: str) -> list[str]:
        return [text for tag, _, text in self.elements if tag == wanted]

    @property
    def data(self) -> dict[str, Any]:
        """What stands in the first element of data."""
        return json.loads(self.texts("script")[0])

    @property
    def words(self) -> str:
        """All text outside of scripts and styles."""
        return " ".join(text for tag, _, text in self.elements if tag not in ("script", "style"))

    def check_policy(self) -> None:
        """It allows the last script, the only one that is no data, and the style, and nothing else."""
        (policy,) = [found["content"] for _, found, _ in self.elements if "http-equiv" in found]
        *data, script = [(found, text) for tag, found, text in self.elements if tag == "script"]
        assert [found["type"] for found, _ in data] == ["application/json"] * len(data)
        assert script[0] == {}
        (style,) = self.texts("style")
        script_hash, style_hash = (b64encode(sha256(text.encode()).digest()).decode() for text in (script[1], style))
        assert policy == (
            f"default-src 'none'; script-src 'sha256-{script_hash}'; style-src 'sha256-{style_hash}'; img-src data:; "
            "base-uri 'none'; form-action 'none'"
        )
        tags = [tag for tag, _, _ in self.elements]
        assert tags.index("meta") < tags.index("style") < tags.index("script")

    def check_that_nothing_is_loaded(self) -> None:
        """No element and no line of the script or the style asks for anything."""
        for tag, attributes, text in self.elements:
            assert not [name for name in attributes if name.startswith("on") or name in ("src", "style")], tag
            assert re.match("data:,$|#", attributes.get("href") or "#"), tag
            if tag in ("script", "style") and attributes.get("type") != "application/json":
                asks = r"https?:(?!//www.w3.org/2000/svg)|url\(|@import|\bfetch\(|XMLHttpRequest|WebSocket"
                assert not re.search(asks + r"|(inner|outer)HTML|insertAdjacent|\beval\(|Function\(", text)
