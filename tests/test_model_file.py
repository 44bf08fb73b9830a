"""Model files: what is in them, that nothing gets lost, and that no damage passes for a model.

Damaged and foreign files are packed by hand with `struct` and `json`, not by the code under test.
"""

import hashlib
import json
import os
import struct

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastbp import model_file
from fastbp.errors import FastbpError, ModelError
from fastbp.model import Model, load
from fastbp.network import Network
from fastbp.preprocessing import Scaling

QUIET = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def small_model(**changes):
    network = Network((2, 3, 2), ("tanh", "softmax"), "cross_entropy")
    parts = {
        "parameters": np.linspace(-1, 1, 17, dtype=np.float32),
        "inputs": Scaling([1.0, 2.0], [0.5, 0.25]),
        "class_names": ("yes", "no"),
        "image_shape": (1, 2),
        "config": {"epochs": 3, "learning_rate": 0.1},
        "data_name": "tiny",
        "data_sha256": "ab" * 32,
    }
    return Model(network, **(parts | changes))


def contents_of(model):
    """Everything that a model is, comparable with =="""
    return (
        model.network,
        model.parameters.dtype.name,
        model.parameters.tobytes(),
        model.inputs,
        model.targets,
        model.class_names,
        model.image_shape,
        model.config,
        model.data_name,
        model.data_sha256,
        model.fastbp_version,
    )


def packed(header, body=b""):
    """A safetensors file by hand: length, JSON, bytes"""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def unpacked(data):
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def resealed(data, change_description=None, change_tensors=None):
    """The file after a change by someone who also corrects the checksum."""
    header, body = unpacked(data)
    description = json.loads(header["__metadata__"]["fastbp"])
    del description["sha256"]
    tensors = {
        name: np.frombuffer(body[slice(*entry["data_offsets"])], {"F32": "<f4", "F64": "<f8"}[entry["dtype"]]).reshape(
            entry["shape"]
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }
    if change_tensors is not None:
        change_tensors(tensors)
    if change_description is not None:
        change_description(description)

    def text(value):
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    digest = hashlib.sha256(text(description).encode("utf-8", "surrogatepass"))
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype.str} {tensor.shape}\n".encode() + tensor.tobytes())
    description["sha256"] = digest.hexdigest()
    return safetensors.numpy.save(tensors, {"fastbp": json.dumps(description)})


@pytest.fixture
def refusal(tmp_path):
    """The words of the ModelError that loading these bytes raises; the path stands in them as FILE."""

    def refusal(data):
        path = tmp_path / "model.safetensors"
        path.write_bytes(data)
        with pytest.raises(ModelError) as caught:
            load(path)
        words = str(caught.value)
        assert words.startswith(f"{path}: ")
        assert "\n" not in words
        assert words.isprintable()
        assert len(words) < len(str(path)) + 600
        assert caught.value.exit_code == 4
        return words.replace(str(path), "FILE")

    return refusal


# -- what is in a file ---------------------------------------------------------------------------------------------


def test_everything_comes_back(tmp_path):
    model = small_model()
    model.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert contents_of(again) == contents_of(model)
    assert again.to_bytes() == model.to_bytes() == (tmp_path / "model.safetensors").read_bytes()
    x = np.random.default_rng(0).normal(size=(300, 2))
    assert again.outputs(x).tobytes() == model.outputs(x).tobytes()


def test_the_mnist_network_takes_at_most_60_kb(tmp_path):
    from fastbp.config import Config

    network = Network((784, 16, 16, 10), ("sigmoid", "sigmoid", "softmax"), "cross_entropy")
    model = Model(
        network,
        network.initial_parameters(0),
        inputs=Scaling(0.0, 1 / 255),
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Boot",
        ),
        image_shape=(28, 28),
        config=Config().as_dict(),
        data_name="fashion",
        data_sha256="f" * 64,
    )
    model.save(tmp_path / "model.safetensors")
    assert 13_002 * 4 < (tmp_path / "model.safetensors").stat().st_size <= 60_000


def test_plain_safetensors_reads_it(tmp_path):
    model = small_model(targets=None)
    path = tmp_path / "model.safetensors"
    model.save(path)
    tensors = safetensors.numpy.load_file(path)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "weights.1": (2, 3),
        "biases.1": (3,),
        "weights.2": (3, 2),
        "biases.2": (2,),
        "input.shift": (2,),
        "input.scale": (2,),
    }
    assert np.array_equal(tensors["weights.2"].ravel(), model.parameters[9:15])
    assert tensors["input.scale"].tolist() == [0.5, 0.25]
    with safetensors.safe_open(path, framework="numpy") as file:
        description = json.loads(file.metadata()["fastbp"])
    assert description["network"] == {"sizes": [2, 3, 2], "activations": ["tanh", "softmax"], "cost": "cross_entropy"}
    assert description["inputs"] == "tensors"
    assert description["config"] == {"epochs": 3, "learning_rate": 0.1}
    assert len(description["sha256"]) == 64


def test_no_paths_and_no_names_of_this_machine_are_in_it(tmp_path):
    data = small_model(data_name=str(tmp_path / "iris.csv")).to_bytes()
    assert b"iris.csv" in data
    assert os.fsencode(tmp_path.name) not in data
    assert os.uname().nodename.encode() not in data


def test_the_order_of_a_dict_does_not_show():
    assert small_model(config={"a": 1, "b": 2}).to_bytes() == small_model(config={"b": 2, "a": 1}).to_bytes()


def test_an_older_file_is_replaced_whole(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"x" * 100_000)
    small_model().save(path)
    assert load(path).class_names == ("yes", "no")
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_a_place_that_cannot_be_written_is_an_error_with_its_name(tmp_path):
    with pytest.raises(FastbpError, match="nowhere"):
        small_model().save(tmp_path / "nowhere" / "model.safetensors")


def test_ten_thousand_long_names_fit():
    network = Network((1, 10_000), ("softmax",), "cross_entropy")
    names = tuple(f"{k:04d}" + "n" * 900 for k in range(10_000))
    data = Model(network, np.zeros(20_000, dtype=np.float32), class_names=names).to_bytes()
    assert len(data) < 10_000_000
    description, _ = model_file.decode(data, "big")
    assert description["class_names"][9_999] == names[9_999]


LETTERS = st.text("abcXYZ 0129_-\u00e9\u6c49\U0001f600\"'\\</>&", max_size=12)
FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)


@st.composite
def models(draw):
    sizes = draw(st.lists(st.integers(1, 6), min_size=2, max_size=6))
    hidden = st.sampled_from(["identity", "sigmoid", "tanh", "relu", "leaky_relu", "step", "maxout"])
    output, cost = draw(
        st.sampled_from(
            [
                ("softmax", "cross_entropy"),
                ("sigmoid", "binary_cross_entropy"),
                ("tanh", "squared_error"),
                ("identity", "mean_squared_error"),
            ]
        )
    )
    activations = [draw(hidden) for _ in sizes[1:-1]] + [output]
    network = Network(sizes, activations, cost)
    dtype = draw(st.sampled_from(["float32", "float64"]))
    numbers = FLOATS if dtype == "float32" else st.floats(allow_nan=False, allow_infinity=False)
    theta = np.array(draw(st.lists(numbers, min_size=network.n_parameters, max_size=network.n_parameters)), dtype=dtype)

    def scaling(n):
        scale = st.floats(1e-300, 1e300)
        if draw(st.booleans()):
            return Scaling(draw(st.floats(-1e300, 1e300)), draw(scale))
        return Scaling(draw(st.lists(FLOATS, min_size=n, max_size=n)), draw(st.lists(scale, min_size=n, max_size=n)))

    is_classes = output == "softmax" or draw(st.booleans())
    return Model(
        network,
        theta,
        inputs=scaling(sizes[0]),
        targets=None if is_classes or draw(st.booleans()) else scaling(sizes[-1]),
        class_names=draw(st.lists(LETTERS, min_size=sizes[-1], max_size=sizes[-1])) if is_classes else (),
        image_shape=draw(st.sampled_from([None, (1, sizes[0]), (sizes[0], 1)])),
        config=draw(st.dictionaries(LETTERS, st.none() | st.booleans() | st.integers() | FLOATS | LETTERS, max_size=3)),
        data_name=draw(LETTERS),
        data_sha256=draw(st.sampled_from(["", "0123456789abcdef" * 4])),
    )


@settings(max_examples=150, **QUIET)
@given(model=models())
def test_any_small_model_comes_back_bit_for_bit(model, tmp_path):
    model.save(tmp_path / "any.safetensors")
    again = load(tmp_path / "any.safetensors")
    assert contents_of(again) == contents_of(model)
    assert again.to_bytes() == model.to_bytes()


# -- damage --------------------------------------------------------------------------------------------------------


def test_every_truncation_is_noticed(refusal):
    data = small_model().to_bytes()
    for length in range(len(data)):
        words = refusal(data[:length])
        assert "truncated" in words or "too short" in words


def test_bytes_after_the_end_are_noticed(refusal):
    assert "not a whole safetensors file" in refusal(small_model().to_bytes() + b"\0")


def test_a_flipped_bit_in_every_byte_is_noticed(tmp_path):
    model = small_model()
    data = model.to_bytes()
    path = tmp_path / "model.safetensors"
    n_refused = 0
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            again = load(path)
        except ModelError:
            n_refused += 1
        else:
            assert contents_of(again) == contents_of(model), f"byte {position}"
    assert n_refused > 0.99 * len(data)


@settings(max_examples=300, **QUIET)
@given(data=st.data())
def test_random_damage_is_refused_or_harmless(data, tmp_path):
    """Up to four bytes replaced, removed or added anywhere: ModelError, or the very same model."""
    model = small_model()
    damaged = bytearray(model.to_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        kind = data.draw(st.sampled_from(["replace", "remove", "add"]))
        value = data.draw(st.integers(0, 255))
        if kind == "replace":
            damaged[position] = value
        elif kind == "remove":
            del damaged[position]
        else:
            damaged.insert(position, value)
    path = tmp_path / "model.safetensors"
    path.write_bytes(damaged)
    try:
        again = load(path)
    except ModelError:
        return
    assert contents_of(again) == contents_of(model)


@settings(max_examples=200, **QUIET)
@given(data=st.binary(max_size=200))
def test_random_bytes_are_no_model(data, tmp_path):
    path = tmp_path / "model.safetensors"
    for contents in (data, packed(data)):
        path.write_bytes(contents)
        with pytest.raises(ModelError):
            load(path)


def test_a_flipped_weight_is_called_damage(refusal):
    data = bytearray(small_model().to_bytes())
    data[-1] ^= 1
    assert "damaged, its checksum is" in refusal(bytes(data))


def test_swapped_names_of_classes_are_called_damage(refusal):
    data = small_model().to_bytes()
    assert data.count(b'\\"yes\\",\\"no\\"') == 1
    assert "damaged" in refusal(data.replace(b'\\"yes\\",\\"no\\"', b'\\"yes\\",\\"ok\\"'))


# -- files that are something else ---------------------------------------------------------------------------------


def test_no_such_file(tmp_path):
    with pytest.raises(ModelError, match=r"model\.safetensors.*No such file"):
        load(tmp_path / "model.safetensors")


def test_a_folder_a_pipe_and_a_device_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, words in ((tmp_path, "folder"), (tmp_path / "pipe", "pipe"), ("/dev/zero", "device")):
        with pytest.raises(ModelError, match=words):
            load(path)


def test_a_path_that_no_system_accepts():
    with pytest.raises(ModelError, match="null"):
        load("model\0.safetensors")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "huge.safetensors"
    with open(path, "wb") as file:
        file.truncate(3 << 30)  # sparse: takes no room
    with pytest.raises(ModelError, match=f"{3 << 30} bytes, a model file has at most {2 << 30}"):
        load(path)


def test_a_control_character_in_the_path_is_shown_escaped(tmp_path):
    path = tmp_path / "a\x1b[2Jb\n"
    path.write_bytes(b"short")
    with pytest.raises(ModelError) as caught:
        load(path)
    assert str(caught.value).isprintable()
    assert r"a\x1b[2Jb\n" in str(caught.value)


F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


CRAFTED = [
    (b"", "FILE: 0 bytes, too short for a safetensors file; use an undamaged copy"),
    (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "not a safetensors file, or damaged: its header would have"),
    (b"\xff" * 100, "its header would have 18446744073709551615 bytes, at most 16777216 are accepted"),
    (struct.pack("<Q", 16 << 20) + b"{}", "truncated, 10 bytes where its header alone needs 16777224"),
    (packed({"w": F32}, bytes(3)), "truncated, 72 of 73 bytes"),
    (
        packed(b"{}"),
        "not written by fastbp, its metadata has no entry 'fastbp'; use a file that fastbp train saved",
    ),
    (packed(b"[1]"), "its header holds no JSON object"),
    (packed(b"{"), "its header holds no JSON object"),
    (packed(b"\xff\xfe"), "its header holds no JSON object"),
    (packed(b"[" * 100_000), "its header holds no JSON object"),
    (packed(b'{"a":' * 100_000), "its header holds no JSON object"),
    (packed(b"9" * 10_000), "its header holds no JSON object"),
    (packed({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)), "not a whole safetensors"),
    (packed({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)), "not a whole safetensors"),
    (packed({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, bytes(4)), "not a whole safetensors"),
    (packed({"w": F32, "v": F32}, bytes(4)), "not a whole safetensors"),
    (packed({"w": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}}), "not a whole safetensors"),
    (packed({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)), "not a whole safetensors"),
    (packed({"w": 5}), "not a whole safetensors file"),
    (packed({"w\x1b[2J": 5}), "not a whole safetensors file"),
    (packed({"__metadata__": {"fastbp": 5}}), "not a whole safetensors file"),
    (packed({"__metadata__": ["fastbp"]}), "not a whole safetensors file"),
    (packed({"__metadata__": {"format": "pt"}, "w": F32}, bytes(4)), "not written by fastbp"),
    (packed({"__metadata__": {"fastbp": "no JSON"}}), "its header holds no JSON object"),
    (packed({"__metadata__": {"fastbp": "[1]"}}), "its header holds no JSON object"),
    (packed({"__metadata__": {"fastbp": "[" * 100_000}}), "its header holds no JSON object"),
    (packed({"__metadata__": {"fastbp": '{"x":NaN}'}}), "its description is not plain JSON"),
    (packed({"__metadata__": {"fastbp": '{"x":1e999}'}}), "its description is not plain JSON"),
    (packed({"__metadata__": {"fastbp": '{"x":"\\ud800"}'}}), "its description is not plain JSON"),
    (
        packed({"__metadata__": {"fastbp": "{}"}}),
        "damaged, its checksum is 44136fa355b3678a... where the file says",
    ),
    (packed({"__metadata__": {"fastbp": '{"sha256":{"a":"\\n"}}'}}), "damaged, its checksum is"),
    (
        packed(
            {"__metadata__": {"fastbp": "{}"}, "w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}},
            bytes(4),
        ),
        "tensor w has dtype BF16, accepted are F32 and F64",
    ),
    (
        packed(
            {"__metadata__": {"fastbp": "{}"}, "w": {"dtype": "F32", "shape": [1] * 70, "data_offsets": [0, 4]}},
            bytes(4),
        ),
        "tensor w has an impossible shape",
    ),
    (
        packed({"__metadata__": {"fastbp": '{"format":2,"layers":"?"}'}}),
        "FILE: format 2 was written by a newer fastbp, this one reads format 1; upgrade fastbp",
    ),
]


@pytest.mark.parametrize(("data", "words"), CRAFTED, ids=range(len(CRAFTED)))
def test_other_and_crafted_files(refusal, data, words):
    assert words in refusal(data)


# -- files whose parts do not fit, with a right checksum -----------------------------------------------------------


def put(*keys_and_value):
    """A change of one entry deep in the description."""
    *keys, last, value = keys_and_value

    def change(description):
        for key in keys:
            description = description[key]
        description[last] = value

    return change


def test_the_hand_written_seal_is_accepted(tmp_path):
    """so that the refusals below are not those of the checksum"""
    model = small_model()
    (tmp_path / "same").write_bytes(resealed(model.to_bytes()))
    assert contents_of(load(tmp_path / "same")) == contents_of(model)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("format", "1"), "format is '1', expected 1"),
        (put("format", True), "format is True, expected 1"),
        (put("format", 0), "format is 0, expected 1"),
        (lambda d: d.pop("format"), "format is None, expected 1"),
        (lambda d: d.pop("network"), "its description needs 'network' of type dict, found None"),
        (lambda d: d.pop("fastbp"), "its description needs 'fastbp' of type str, found None"),
        (lambda d: d.pop("config"), "its description needs 'config' of type dict"),
        (lambda d: d["data"].pop("name"), "its description needs 'name' of type str"),
        (put("network", "sizes", 7), "its description needs 'sizes' of type list, found 7"),
        (put("network", "sizes", [2, 4, 2]), r"tensor weights.1 is float32 of shape (2, 3), the network 2-4-2 needs"),
        (put("network", "sizes", [2, 3, 3]), r"tensor weights.2 is float32 of shape (3, 2), the network 2-3-3 needs"),
        (put("network", "sizes", [2, 0, 2]), "every layer must have 1 to 10000 units, got 0"),
        (put("network", "sizes", [2, 3.0, 2]), "every layer must have 1 to 10000 units, got 3.0"),
        (put("network", "sizes", [2, True, 2]), "got True"),
        (put("network", "sizes", [2, 10**30, 2]), "every layer must have 1 to 10000 units"),
        (put("network", "sizes", [2]), "a network needs an input and an output layer"),
        (put("network", "activations", ["tanh"]), "needs 2 activations, got 1"),
        (put("network", "activations", ["tanh", "gelu"]), "activation must be one of"),
        (put("network", "activations", ["tanh", ["softmax"]]), "activation must be one of"),
        (put("network", "activations", ["__import__('os').abort()", "softmax"]), "activation must be one of"),
        (put("network", "activations", ["x" * 1_000_000, "softmax"]), "activation must be one of"),
        (put("network", "activations", ["\x1b[2J", "softmax"]), "activation must be one of"),
        (put("network", "cost", "hinge"), "cost must be one of"),
        (put("network", "cost", "\x1b[2J\n" * 1000), "cost must be one of"),
        (put("network", "cost", "squared_error"), "cost squared_error needs output_activation any but softmax"),
        (put("dtype", "float64"), "tensor weights.1 is float32 of shape (2, 3), the network 2-3-2 needs float64"),
        (put("dtype", "object"), "needs object of shape"),
        (put("inputs", {"shift": 0.0, "scale": 1.0}), "tensor input.scale has no place in the network 2-3-2"),
        (put("targets", "tensors"), "tensor target.shift of the network 2-3-2 is missing"),
        (put("targets", {"shift": 0.0, "scale": 1.0}), "a target scaling is for target values"),
        (put("targets", {"shift": 0.0}), "its description needs 'scale' of type float"),
        (put("class_names", ["yes"]), "1 class names do not fit 2 outputs"),
        (put("class_names", ["yes", "no", "maybe"]), "3 class names do not fit 2 outputs"),
        (put("class_names", ["yes", "n\x1b[31mo"]), "holds a control character"),
        (put("class_names", ["yes", "n" * 1001]), "has 1001 characters, at most 1000"),
        (put("class_names", ["yes", None]), "the name of class 1 must be a text, got NoneType"),
        (put("class_names", "yn"), "its description needs 'class_names' of type list"),
        (put("image_shape", [2, 2]), "image_shape 2 x 2 does not make the network's 2 inputs"),
        (put("image_shape", [1]), "image_shape must be two whole numbers"),
        (put("image_shape", ["1", "2"]), "image_shape must be two whole numbers"),
        (put("image_shape", 2), "its description needs 'image_shape' of type list"),
        (put("data", "sha256", "\x1b" * 64), "data_sha256 must be 64 hexadecimal digits"),
        (put("fastbp", "\x1b[2J"), "fastbp_version must be a version"),
        (put("config", {"x": "y" * 10_000_001}), "take 10000"),
    ],
)
def test_a_description_that_does_not_fit(refusal, change, words):
    found = refusal(resealed(small_model().to_bytes(), change_description=change))
    assert words in found


def retype(tensors):
    tensors["weights.1"] = tensors["weights.1"].astype("<f8")


def poison(value):
    def change(tensors):
        tensors["biases.2"] = np.array([0.0, value], dtype="<f4")

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("weights.2"), "FILE: tensor weights.2 of the network 2-3-2 is missing; use a file that"),
        (lambda t: t.update({"weights.3": t["biases.1"]}), "tensor weights.3 has no place in the network 2-3-2"),
        (lambda t: t.update({"\x1b[2J": t["biases.1"]}), r"tensor '\x1b[2J' has no place"),
        (lambda t: t.update({"weights.1": t["weights.1"].T.copy()}), "tensor weights.1 is float32 of shape (3, 2)"),
        (lambda t: t.update({"biases.1": t["biases.1"][:, None]}), "tensor biases.1 is float32 of shape (3, 1)"),
        (retype, "tensor weights.1 is float64 of shape (2, 3), the network 2-3-2 needs float32 of shape (2, 3)"),
        (poison(np.nan), "parameter 16 is nan; every weight and bias must be finite"),
        (poison(-np.inf), "parameter 16 is -inf"),
        (lambda t: t.update({"input.scale": np.zeros(2)}), "no scale may be 0"),
        (lambda t: t.update({"input.shift": np.array([np.nan, 0])}), "shift and scale must be finite"),
        (lambda t: t.update({"input.shift": np.zeros(3)}), "tensor input.shift is float64 of shape (3,)"),
        (lambda t: t.update({"input.shift": np.zeros(2, "<f4")}), "tensor input.shift is float32"),
        (lambda t: t.clear(), "tensor weights.1 of the network 2-3-2 is missing"),
    ],
)
def test_tensors_that_do_not_fit(refusal, change, words):
    assert words in refusal(resealed(small_model().to_bytes(), change_tensors=change))


def test_what_a_newer_fastbp_adds_is_ignored(tmp_path):
    (tmp_path / "model").write_bytes(resealed(small_model().to_bytes(), put("colour", "blue")))
    assert contents_of(load(tmp_path / "model")) == contents_of(small_model())


def test_a_path_in_a_file_is_cut_like_any_other(tmp_path):
    (tmp_path / "model").write_bytes(resealed(small_model().to_bytes(), put("data", "name", "/etc/pass\x1bwd")))
    assert load(tmp_path / "model").data_name == "pass?wd"
