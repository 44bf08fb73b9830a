"""Draw the pictures of README: a run's plot, and the page to draw on, each for light and for dark readers.

    python scripts/pictures.py            # into docs/pictures; takes about a minute

Needs `pip install '.[test]'` (matplotlib, Pillow, Selenium), a Chromium with its chromedriver, and MNIST (downloaded,
or found through FASTBP_DATA). Pictures are reduced to 256 colours, so that a checkout stays small.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
RUN = ("--data", "mnist", "--layers", "32-16", "--activation", "relu", "--learning-rate", "0.2")
RUN = (*RUN, "--epochs", "12", "--validation", "0.1")
WIDTH = 1280  # pixels
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking")


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        fastbp("train", *RUN, "--out", work / "run", "--quiet")
        for style in ("light", "dark"):
            fastbp("plot", work / "run", "--style", style, "--out", work / f"plot-{style}.png", "--quiet")
            keep(work / f"plot-{style}.png", f"plot-{style}.png")
        fastbp("train", "--data", "mnist", "--out", work / "emblem", "--quiet")  # 784-16-16-10
        fastbp("export", work / "emblem" / "model.safetensors", work / "page.html")
        for style in ("light", "dark"):
            (work / "page.png").write_bytes(screenshot(work / "page.html", style, work / f"profile-{style}"))
            keep(work / "page.png", f"page-{style}.png")


def fastbp(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "fastbp", *map(str, arguments)], check=True)


def screenshot(page: Path, style: str, profile: Path) -> bytes:
    """The page with one of its own sample digits on it, as a PNG of its upper part."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={WIDTH},900"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        features = [{"name": "prefers-color-scheme", "value": style}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get(page.as_uri())
        samples: list[Any] = browser.find_elements("css selector", "#samples button")
        samples[5].click()
        height = browser.execute_script("return document.documentElement.scrollHeight")
        browser.set_window_size(WIDTH, height + 150)
        return bytes(browser.get_screenshot_as_png())
    finally:
        browser.quit()


def keep(path: Path, name: str) -> None:
    """Reduce a picture to WIDTH and 256 colours, and put it where README finds it."""
    from PIL import Image

    picture = Image.open(path).convert("RGB")
    if picture.width > WIDTH:
        picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
    reduced = picture.quantize(256, dither=Image.Dither.NONE)
    buffer = BytesIO()
    reduced.save(buffer, "PNG", optimize=True)
    (PICTURES / name).write_bytes(buffer.getvalue())
    print(f"{PICTURES / name}: {reduced.width} x {reduced.height}, {len(buffer.getvalue()) // 1000} KB")


if __name__ == "__main__":
    main()
