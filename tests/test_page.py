"""Models as HTML pages: the file read by a parser of HTML, and the page opened in a browser, where there is one.

The browser tests need the package selenium, a Chromium or Chrome and its chromedriver; they skip without them. What
the page computes is compared with `Model.outputs`, how it prepares drawings with `fastbp.centring.prepare`.
"""

from __future__ import annotations

import json
import os
import re
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from pages import NASTY, Page

import fastbp
from fastbp import centring
from fastbp.activations import CustomActivation
from fastbp.cli import cli
from fastbp.data.digits import make_digits
from fastbp.errors import FastbpError, UsageError
from fastbp.kernels.codes import LEAKY_SLOPE
from fastbp.model import Model
from fastbp.network import Network
from fastbp.pages.model_page import page_bytes, to_page
from fastbp.preprocessing import Scaling

PIXELS = Scaling(0.0, 1 / 255)
DIGITS = tuple("0123456789")


def model_of(
    sizes: tuple[int, ...] = (784, 16, 16, 10),
    activations: tuple[Any, ...] = ("sigmoid", "sigmoid", "softmax"),
    cost: str = "cross_entropy",
    class_names: tuple[str, ...] = DIGITS,
    **settings: Any,
) -> Model:
    """A network of square pictures with random weights."""
    network = Network(sizes, activations, cost)
    theta = np.random.default_rng(1).normal(0, 2 / sizes[0] ** 0.5, network.n_parameters).astype("float32")
    side = round(sizes[0] ** 0.5)
    settings = {"inputs": PIXELS, "image_shape": (side, side), **settings}
    return Model(network, theta, class_names=class_names, **settings)


# -- the file ----------------------------------------------------------------------------------------------------------


def test_size_of_the_page():
    assert len(page_bytes(model_of())) <= 250_000


def test_the_same_model_gives_the_same_bytes():
    assert page_bytes(model_of()) == page_bytes(model_of())


def test_the_file_needs_nothing_from_elsewhere():
    page = Page(page_bytes(model_of()))
    page.check_policy()
    page.check_that_nothing_is_loaded()
    assert page.data["side"] == 28


def test_names_stay_text():
    model = model_of((4, 4), ("softmax",), class_names=NASTY, data_name="<i>data & more")
    page = Page(page_bytes(model))
    assert len(page.texts("script")) == 2
    assert "alert(1)" not in page.texts("script")[1]
    raw = page.texts("script")[0]
    assert not set("<>&") & set(raw)
    assert tuple(page.data["classNames"]) == NASTY
    (facts,) = [text for _, found, text in page.elements if found.get("id") == "facts"]
    assert facts == "4-4: 20 weights and biases, softmax, trained on <i>data & more."


def test_weights_are_little_endian_float32():
    model = model_of((9, 2, 3), ("tanh", "softmax"), class_names=("a", "b", "c"))
    (W, b), _ = model.network.layers_of(model.parameters)
    stored = Page(page_bytes(model)).data["layers"][0]
    assert struct.unpack("<18f", b64decode(stored["W"]["base64"])) == tuple(W.ravel().tolist())
    assert struct.unpack("<2f", b64decode(stored["b"]["base64"])) == tuple(b.tolist())
    assert stored["W"]["type"] == "float32"


def test_samples_are_for_networks_of_digits():
    samples = Page(page_bytes(model_of())).data["samples"]
    assert [each["name"] for each in samples] == list(DIGITS)
    _, _, images, labels = make_digits(0, 100)
    first = images[labels.tolist().index(7)]
    assert b64decode(samples[7]["pixels"]) == first.tobytes()
    others = [model_of((81, 10), ("softmax",)), model_of((784, 10), ("softmax",), class_names=tuple("abcdefghij"))]
    assert [Page(page_bytes(model)).data["samples"] for model in others] == [[], []]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_shape": None}, "for models of square pictures.* are no pictures"),
        ({"image_shape": (14, 56)}, "for models of square pictures.* 14 x 56 pixels"),
        ({"sizes": (784, 2000, 10), "activations": ("relu", "softmax")}, "more than 6,000,000 bytes; .* 1,590,010 w"),
        ({"sizes": (784, 1800, 10), "activations": ("relu", "softmax")}, "take 7,.* at most 6,000,000 are written"),
    ],
)  # fmt: skip
def test_refused(settings, message, tmp_path):
    (tmp_path / "page.html").write_bytes(b"older")
    with pytest.raises(UsageError, match=message):
        to_page(model_of(**settings), tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["page.html"]


def test_functions_of_ones_own_are_refused():
    own = CustomActivation("twice", lambda z: 2 * z, lambda z, a: 2.0)
    with pytest.raises(UsageError, match="activation twice is a function of your own, which a page cannot hold"):
        page_bytes(model_of((4, 3, 10), (own, "softmax")))


def test_an_older_page_is_replaced_whole(tmp_path):
    (tmp_path / "page.html").write_bytes(b"older")
    fastbp.to_page(model_of(), tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes() == page_bytes(model_of())
    with pytest.raises(FastbpError, match=r"cannot write .*none"):
        to_page(model_of(), tmp_path / "none" / "page.html")
    assert os.listdir(tmp_path) == ["page.html"]


def test_numbers_in_the_scripts_are_those_of_the_package():
    script = Page(page_bytes(model_of())).texts("script")[1]
    constants = dict(re.findall(r"^const ([A-Z_]+) = ([\d.]+);", script, re.MULTILINE))
    wanted = {"LEAKY_SLOPE": LEAKY_SLOPE, **{name: getattr(centring, name) for name in ("FAINTEST", "NOISE", "SMALL")}}
    assert {name: float(constants[name]) for name in wanted} == wanted


def test_from_the_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, page = "model.safetensors", "page.HTML"
    model_of().save(model)
    result = CliRunner().invoke(cli, ["export", model, page])
    assert result.exit_code == 0
    assert re.search(r"page\.HTML \(1\d\d\.\d KB\)", result.stdout)
    said = json.loads(CliRunner().invoke(cli, ["export", model, page, "--json"]).stdout)
    assert said == {"model": model, "file": page, "bytes": os.path.getsize(page), "classes": list(DIGITS)}
    refused = CliRunner().invoke(cli, ["export", model, page, "--input-dtype", "uint8"], standalone_mode=False)
    assert isinstance(refused.exception, UsageError)
    assert "--input-dtype is for ONNX files" in str(refused.exception)


# -- in a browser ------------------------------------------------------------------------------------------------------


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Opens the page of a model. At the end of the test, the browser must have complained about nothing."""

    def open_page(model: Model) -> Any:
        to_page(model, tmp_path / "page.html")
        browser.get((tmp_path / "page.html").as_uri())
        return browser

    yield open_page
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').map((each) => each.name)") == []


@pytest.fixture(scope="module")
def digits_model() -> Model:
    x_train, y_train, x_test, y_test = make_digits(4000, 100)
    data = fastbp.Dataset.from_arrays(x_train, y_train, x_test, y_test, name="digits")
    model = fastbp.train(data, epochs=20).model
    assert model.class_names == DIGITS
    return model


def outputs_of_the_page(page: Any, images: np.ndarray) -> np.ndarray:
    """What the page's JavaScript computes for images of bytes."""
    script = """
        const [base64, n] = arguments, bytes = decodeBytes(base64), size = network.side ** 2;
        return Array.from({ length: n }, (_, i) =>
          Array.from(outputs(network, activations(network, bytes.subarray(i * size, (i + 1) * size)).at(-1))));
    """
    return np.array(page.execute_script(script, b64encode(images.tobytes()).decode(), len(images)))


def test_outputs_are_those_of_the_model(show, digits_model):
    _, _, images, _ = make_digits(0, 2000)
    noise = np.random.default_rng(3).integers(0, 256, (100, 28, 28), np.uint8)
    images = np.concatenate([images, noise])
    page = show(digits_model)
    found = outputs_of_the_page(page, images)
    assert np.abs(found - digits_model.outputs(images)).max() <= 1e-5
    names = page.execute_script("return arguments[0].map((y) => answer(network, y))", found.tolist())
    assert names == digits_model.predict(images).tolist()


PER_PIXEL = Scaling(np.linspace(0, 200, 81), np.linspace(0.002, 0.01, 81))
TWO_VALUES = Scaling(np.array([1.0, 2.0]), np.array([2.0, 0.5]))
OTHERS = {
    "no hidden layer": ((81, 3), ("softmax",), "cross_entropy", ("a", "b", "c"), {}),
    "identity and tanh": ((81, 5, 3), ("identity", "tanh"), "squared_error", ("a", "b", "c"), {"inputs": PER_PIXEL}),
    "relu and sigmoid pair": ((81, 5, 1), ("relu", "sigmoid"), "binary_cross_entropy", ("no", "yes"), {}),
    "tanh pair": ((81, 5, 1), ("leaky_relu", "tanh"), "squared_error", ("no", "yes"), {"inputs": PER_PIXEL}),
    "perceptrons": ((81, 3), ("step",), "perceptron", ("a", "b", "c"), {}),
    "maxout, deep": (
        (81, 6, 5, 4, 3, 3), ("maxout", "maxout", "tanh", "leaky_relu", "relu"), "squared_error", ("a", "b", "c"), {}
    ),
    "counts": ((81, 4, 2), ("sigmoid", "exponential"), "poisson", (), {"targets": Scaling(0.0, 1.0)}),
    "values": ((81, 4, 2), ("tanh", "identity"), "squared_error", (), {"targets": TWO_VALUES}),
    "a wide layer": ((81, 700, 3), ("relu", "softmax"), "cross_entropy", ("a", "b", "c"), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_outputs_of_other_networks(show, name):
    sizes, activations, cost, class_names, settings = OTHERS[name]
    model = model_of(sizes, activations, cost, class_names, **settings)
    images = np.random.default_rng(2).integers(0, 256, (200, 9, 9), np.uint8)
    page = show(model)
    found = outputs_of_the_page(page, images)
    assert np.ptp(found, axis=0).max() > 0.01, "all images are alike to this network"
    assert np.abs(found - model.outputs(images)).max() <= 1e-5
    if class_names:
        names = page.execute_script("return arguments[0].map((y) => answer(network, y))", found.tolist())
        assert names == model.predict(images).tolist()
    page.find_element("id", "noise").click()
    assert spoken(page).startswith("The noise ")
    assert len(page.find_elements("css selector", "#outputs li")) == max(len(class_names), sizes[-1])


def spoken(page: Any) -> str:
    """What a screen reader says."""
    return str(page.find_element("id", "spoken").get_property("textContent"))


def draw(page: Any, *points: tuple[int, int]) -> None:
    """A stroke of the mouse through points, from the middle of the pad."""
    from selenium.webdriver.common.action_chains import ActionChains

    hand = ActionChains(page, duration=10)
    hand.move_to_element_with_offset(page.find_element("id", "pad"), *points[0]).click_and_hold()
    for (x0, y0), (x1, y1) in pairwise(points):
        hand.move_by_offset(x1 - x0, y1 - y0)
    hand.release().perform()


def ink_of(page: Any) -> tuple[np.ndarray, np.ndarray]:
    """The pad's ink, and what the network is given."""
    ink, given = page.execute_script("return [Array.from(pad.data), Array.from(state.pixels)]")
    return np.array(ink, np.uint8).reshape(280, 280), np.array(given, np.uint8).reshape(28, 28)


STROKES = {
    "one": [[(10, -90), (-10, 90)]],
    "seven": [[(-60, -70), (60, -80), (0, 90)], [(-30, 10), (40, 5)]],
    "three": [[(-50, -80), (20, -90), (50, -50), (-10, -10), (50, 30), (20, 80), (-50, 70)]],
    "a dot in the corner": [[(-110, -110), (-109, -110)]],
    "over the edge": [[(0, 0), (120, 60), (100, -60)]],
}


@pytest.mark.parametrize("name", STROKES)
def test_drawings_are_prepared_as_those_of_mnist(show, digits_model, name):
    page = show(digits_model)
    page.find_element("id", "clear").click()
    assert spoken(page) == "The pad is empty."
    for stroke in STROKES[name]:
        draw(page, *stroke)
    ink, given = ink_of(page)
    assert ink.max() == 255
    assert 0 < (ink > 0).mean() < 0.5
    np.testing.assert_array_equal(given, centring.prepare(ink))
    label = int(digits_model.predict(given[None])[0])
    probability = digits_model.outputs(given[None])[0, label]
    assert spoken(page) == f"The drawing is taken for {label}, {100 * probability:.1f} % sure."
    shown = page.find_element("css selector", "#outputs .best").text
    assert shown.split("\n") == [str(label), f"{100 * probability:.1f} %"]


@pytest.mark.parametrize("kind", ["pen", "touch"])
def test_pens_and_fingers_draw(show, digits_model, kind):
    from selenium.webdriver.common.actions.action_builder import ActionBuilder
    from selenium.webdriver.common.actions.pointer_input import PointerInput

    page = show(digits_model)
    page.find_element("id", "clear").click()
    pad, hand = page.find_element("id", "pad"), ActionBuilder(page, mouse=PointerInput(kind, kind), duration=20)
    hand.pointer_action.move_to(pad, 10, -90).pointer_down().move_to(pad, -10, 90).pointer_up()
    hand.perform()
    ink, given = ink_of(page)
    assert np.ptp(np.nonzero(ink)[0]) > 180
    np.testing.assert_array_equal(given, centring.prepare(ink))
    assert page.execute_script("return scrollY") == 0


def test_any_picture_is_prepared_as_by_the_package(show, rng):
    """Photos with noise, dark ink on light ground, specks; other sides, and without centring."""
    pictures = []
    for number in range(24):
        height, width = rng.integers(30, 120, 2) if number % 2 else [rng.integers(30, 120)] * 2
        rows, columns = np.mgrid[:height, :width]
        angle, middle = rng.uniform(0, 3.1), rng.uniform(0.3, 0.7, 2)
        across = (rows - middle[0] * height) * np.cos(angle) + (columns - middle[1] * width) * np.sin(angle)
        ink = np.clip(4 - np.abs(across), 0, 1) * (np.abs(rows - height / 2) < height / 3) * 200
        ink = ink + rng.integers(0, 1 + 6 * (number % 3), ink.shape)
        ink[rng.integers(0, height), rng.integers(0, width)] = 180
        pictures.append((255 - ink if number % 4 > 1 else ink).astype(np.uint8))
    page = show(model_of())
    script = """
        const [data, height, width, side, centre] = arguments;
        return Array.from(prepare({ data: decodeBytes(data), height, width }, side, centre));
    """
    for picture in pictures:
        for side, centre in ((28, True), (13, True), (28, False)):
            data = b64encode(picture.tobytes()).decode()
            found = page.execute_script(script, data, *picture.shape, side, centre)
            if centre or picture.shape[0] == picture.shape[1]:  # the page's pad is square
                wanted = centring.prepare(picture, (side, side), centre=centre)
                np.testing.assert_array_equal(np.reshape(found, (side, side)), wanted)


def test_a_sample_goes_in_as_it_is_and_the_first_stroke_replaces_it(show, digits_model):
    page = show(digits_model)
    page.find_elements("css selector", "#samples button")[4].click()
    _, given = ink_of(page)
    _, _, images, labels = make_digits(0, 100)
    np.testing.assert_array_equal(given, images[labels.tolist().index(4)])
    assert spoken(page).startswith("The sample is taken for ")
    draw(page, (20, -80), (0, 80))
    ink, given = ink_of(page)
    assert not ink[:, :100].any()
    np.testing.assert_array_equal(given, centring.prepare(ink))


def test_noise_gets_an_answer_like_any_picture(show, digits_model):
    page = show(digits_model)
    page.find_element("id", "noise").click()
    _, given = ink_of(page)
    assert len(np.unique(given)) > 200
    label = int(digits_model.predict(given[None])[0])
    assert spoken(page).startswith(f"The noise is taken for {label}, ")
    page.execute_script("show()")
    assert "There is nothing in this picture" in page.find_element("id", "remark").text


def test_by_keyboard(show, digits_model):
    from selenium.webdriver.common.keys import Keys

    page = show(digits_model)
    page.find_element("id", "clear").send_keys(Keys.ENTER)
    pad = page.find_element("id", "pad")
    pad.send_keys(Keys.ARROW_UP * 8, " ", Keys.ARROW_DOWN * 16 + Keys.ARROW_RIGHT * 3, " ", Keys.ARROW_LEFT * 5)
    ink, given = ink_of(page)
    np.testing.assert_array_equal(given, centring.prepare(ink))
    rows, columns = np.nonzero(ink)
    assert (np.ptp(rows) > 128, np.ptp(columns) < 60) == (True, True)
    assert spoken(page).startswith("The drawing is taken for ")


def test_names_stay_text_in_the_browser(show):
    model = model_of((81, 4), ("softmax",), class_names=NASTY)
    page = show(model)
    page.find_element("id", "noise").click()
    names = page.execute_script("return [...document.querySelectorAll('#outputs .name')].map((e) => e.textContent)")
    assert tuple(names) == NASTY
    assert page.execute_script("return document.scripts.length") == 2
    assert page.execute_script("return document.querySelectorAll('main b').length") == 1  # the answer's


def test_nothing_else_runs_in_the_page(browser, tmp_path):
    """The policy at work: a script and a style that come in some other way."""
    to_page(model_of(), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_bytes()
    planted = b"<script>window.planted = 1</script><p id='p' style='color: red'></p><img src='http://192.0.2.1/i.png'>"
    (tmp_path / "planted.html").write_bytes(page.replace(b"</header>", b"</header>" + planted))
    browser.get((tmp_path / "planted.html").as_uri())
    assert browser.execute_script("return window.planted") is None
    assert browser.execute_script("return getComputedStyle(document.getElementById('p')).color") != "rgb(255, 0, 0)"
    said = [entry["message"] for entry in browser.get_log("browser")]
    assert len([text for text in said if "Content Security Policy" in text]) == 3
    assert browser.execute_script("return network.layers.length") == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 800, 1240])
def test_fits_the_screen(show, digits_model, width, scheme):
    page = show(digits_model)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 2, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) < 380) == (scheme == "dark")
        for part in page.find_elements("css selector", "canvas, button, li"):
            assert part.rect["x"] >= 0
            assert part.rect["x"] + part.rect["width"] <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_everything_has_a_name_for_screen_readers(show, digits_model):
    page = show(digits_model)
    parts = page.find_elements("css selector", "button, canvas[role], [role=group], ul, section")
    assert len(parts) > 30
    assert [part.get_attribute("outerHTML")[:80] for part in parts if not part.accessible_name] == []
    live = page.find_element("id", "spoken")
    assert (live.aria_role, live.get_attribute("aria-live")) == ("status", "polite")
