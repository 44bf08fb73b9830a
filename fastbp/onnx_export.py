"""A trained network as an ONNX file, for onnxruntime and everything else that reads ONNX: browsers, phones, C++, Java.

In: a `Model`. Out: a graph with everything the model does to a sample, from its raw units to the answer:

    input        (batch, n_features)   samples in the units of the training data: pixels from 0 to 255
    label        (batch,)              the class, as `Model.predict` chooses it: its name, or a number where the names
                                       are 0, 1, 2, ...
    probabilities (batch, n_classes)   of a softmax output, or of a single sigmoid output, which tells two classes apart
    outputs      (batch, n_outputs)    instead of these, where the output layer makes no probabilities (tanh, relu, ...)
    values       (batch, n_outputs)    instead of all three: target values in their original units, float64

The graph is made here as plain names and arrays (`network_graph`); only writing it down needs the package onnx. The
operators are those of opset 7, the oldest one that broadcasts as NumPy does, so that old runtimes read the file too;
newer ones where float64 needs them.

ONNX specification: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import __version__
from .activations import HIDDEN_ACTIVATIONS
from .errors import FastbpError, UsageError
from .files import write_atomically
from .kernels.codes import LEAKY_SLOPE
from .model import Model
from .preprocessing import Scaling

__all__ = ["INPUT_DTYPES", "Graph", "Node", "Value", "network_graph", "onnx_bytes", "to_onnx"]

Array = NDArray[Any]

INPUT_DTYPES = ("uint8", "float32", "float64")
OPSET = 7
OPSET_ARGMAX_FLOAT64 = 11  # runtimes such as onnxruntime 1.19 have the ArgMax of float64 from here on
OPSET_MAX_FLOAT64 = 8  # the same of the Max of float64
IR_VERSION = 4  # the oldest in which constants need not be listed as inputs
BATCH = "batch"

ONE_OPERATOR = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "exponential": "Exp"}
ELEMENT_TYPES = {
    "uint8": "UINT8",
    "int64": "INT64",
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "string": "STRING",
    "object": "STRING",
}


class Node(NamedTuple):
    """One operation: an ONNX operator, the names that go in, the name that comes out.

    Attributes are ONNX's; only Cast's `to` is NumPy's name of a number type.
    """

    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]


class Value(NamedTuple):
    """An input or an output. dtype is NumPy's name, or "string"; shape begins with the batch."""

    name: str
    dtype: str
    shape: tuple[str | int, ...]


@dataclass
class Graph:
    """Operations in the order in which they are computed, and the constants they use, by name."""

    input: Value
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    outputs: list[Value] = field(default_factory=list)
    opset: int = OPSET

    def add(self, operator: str, *inputs: str, name: str, **attributes: Any) -> str:
        """Append an operation; returns the name of its result."""
        self.nodes.append(Node(operator, inputs, name, attributes))
        return name

    def constant(self, name: str, value: Any, dtype: DTypeLike | None = None) -> str:
        """Keep an array under a name; returns the name. Without dtype it stays what it is."""
        self.constants[name] = np.array(value, dtype=dtype)
        return name


def to_onnx(model: Model, path: str | os.PathLike[str], *, input_dtype: str | None = None) -> None:
    """Write a model as an ONNX file; an older file at `path` is replaced whole.

    The file takes raw samples and answers as `Model.predict` does; its inputs and outputs are listed at the top of
    `fastbp.onnx_export`. The same model gives the same bytes. A runtime adds up in an order of its own: probabilities
    in float32 agree to a few 1e-6, and both are about as far from the exact ones; in float64 they agree to 1e-14. And
    a runtime refuses nothing: NaN in, NaN out.

    Parameters
    ----------
    model : Model
    path : path
    input_dtype : str, optional
        number type of the samples that the file takes: uint8, float32 or float64; by default that of the weights. With
        float64, samples are also scaled in float64

    Raises
    ------
    UsageError
        another input_dtype; a scaling that float32 cannot express; an activation of a user's own
    FastbpError
        the package onnx is missing, or the file cannot be written

    Examples
    --------
    >>> import fastbp
    >>> model = fastbp.train("digits", epochs=1).model  # doctest: +SKIP
    >>> fastbp.to_onnx(model, "digits.onnx", input_dtype="uint8")  # doctest: +SKIP
    """
    write_atomically(path, onnx_bytes(model, input_dtype))


def onnx_bytes(model: Model, input_dtype: str | None = None) -> bytes:
    """The contents of the file that `to_onnx` writes, with the same errors; onnx's own checker has passed them."""
    graph = network_graph(model, input_dtype)
    try:
        import onnx
    except ImportError as error:
        raise FastbpError(
            "writing ONNX needs the package onnx, which is not installed; run: pip install 'fastbp[onnx]'"
        ) from error
    helper = onnx.helper
    proto = helper.make_model(
        helper.make_graph(
            [_node(onnx, node) for node in graph.nodes],
            "fastbp",
            [_value(onnx, graph.input)],
            [_value(onnx, value) for value in graph.outputs],
            [_tensor(onnx, name, array) for name, array in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", graph.opset)],
        ir_version=IR_VERSION,
        producer_name="fastbp",
        producer_version=__version__,
        doc_string="input: samples in the units of the training data; pixels from 0 to 255",
    )
    helper.set_model_props(proto, _properties(model))
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString(deterministic=True))


def network_graph(model: Model, input_dtype: str | None = None) -> Graph:
    """What the file computes, step by step. Nothing here needs the package onnx.

    Raises
    ------
    UsageError
        another input_dtype than uint8, float32 or float64; a scaling that float32 cannot express; an activation of a
        user's own
    """
    for each in model.network.customs:
        raise UsageError(
            f"activation {each.name} is a function of your own, which ONNX cannot express; train with one of "
            f"{', '.join(HIDDEN_ACTIVATIONS)}"
        )
    dtype = model.parameters.dtype.name
    input_dtype = dtype if input_dtype is None else input_dtype
    if input_dtype not in INPUT_DTYPES:
        raise UsageError(f"input_dtype must be one of {', '.join(INPUT_DTYPES)}, got {input_dtype!r}")
    graph = Graph(Value("input", input_dtype, (BATCH, model.network.sizes[0])))
    a = _scale_inputs(graph, model.inputs, dtype)
    names = [f"a.{layer}" for layer in range(1, len(model.network.activations))] + [_name_of_last_layer(model)]
    pairs = model.network.layers_of(model.parameters)
    for layer, (W, b) in enumerate(pairs, start=1):
        activation, name = model.network.activations[layer - 1], names[layer - 1]
        if activation == "maxout":
            a = _maxout(graph, a, W, b, layer, name)
            continue
        weights, biases = graph.constant(f"weights.{layer}", W), graph.constant(f"biases.{layer}", b)
        z = graph.add("Gemm", a, weights, biases, name=name if activation == "identity" else f"z.{layer}")
        a = z if activation == "identity" else _activate(graph, z, activation, dtype, name)
    if model.is_regression:
        _answer_values(graph, model, a)
    else:
        _answer_classes(graph, model, a, dtype)
    return graph


def _scale_inputs(graph: Graph, scaling: Scaling, dtype: str) -> str:
    """(input - shift) * scale, in the precision of the network; in float64 where samples are float64, then rounded.

    In float32 the shift is subtracted in two parts, which together are as precise as the float64 it is: where a column
    has the mean 2000 and the deviation 5, one part alone would lose eight of 24 bits.
    """
    x = graph.input.name
    exact = "float64" if "float64" in (dtype, graph.input.dtype) else "float32"
    if graph.input.dtype != exact:
        x = graph.add("Cast", x, name="numbers", to=exact)
    shift, scale = np.asarray(scaling.shift), np.asarray(scaling.scale)
    limits = np.finfo(np.float32)
    fits = (np.abs(shift) <= limits.max) & (np.abs(scale) >= limits.tiny) & (np.abs(scale) <= limits.max)
    if exact == "float32" and not fits.all():
        raise UsageError("the input scaling holds numbers that float32 cannot express; use input_dtype float64")
    parts = {"shift": shift.astype(exact)}
    parts["shift_rest"] = (shift - parts["shift"]).astype(exact)
    for name, part in parts.items():
        if part.any():
            x = graph.add("Sub", x, graph.constant(name, part), name=f"minus_{name}")
    if (scale != 1).any():
        x = graph.add("Mul", x, graph.constant("scale", scale, exact), name="scaled")
    return x if exact == dtype else graph.add("Cast", x, name="rounded", to=dtype)


def _maxout(graph: Graph, x: str, W: Array, b: Array, layer: int, name: str) -> str:
    """The larger of two net inputs per unit, of the pieces 0 and 1."""
    pieces = []
    for piece, (columns, biases) in enumerate(zip(np.split(W, 2, axis=1), np.split(b, 2), strict=True)):
        weights = graph.constant(f"weights.{layer}.{piece}", columns)
        pieces.append(
            graph.add("Gemm", x, weights, graph.constant(f"biases.{layer}.{piece}", biases), name=f"z.{layer}.{piece}")
        )
    graph.opset = OPSET_MAX_FLOAT64 if W.dtype == np.float64 else OPSET
    return graph.add("Max", *pieces, name=name)


def _activate(graph: Graph, z: str, activation: str, dtype: str, name: str) -> str:
    """f(z), elementwise or, for softmax, along the units."""
    if activation == "softmax":
        return graph.add("Softmax", z, name=name, axis=1)
    if activation == "step":
        above = graph.add("Greater", z, graph.constant("zero", 0, dtype), name=f"{name}.above")
        return graph.add("Cast", above, name=name, to=dtype)
    if activation != "leaky_relu":
        return graph.add(ONE_OPERATOR[activation], z, name=name)
    if dtype == "float32":
        return graph.add("LeakyRelu", z, name=name, alpha=LEAKY_SLOPE)
    # onnxruntime has no LeakyRelu for float64: max(z, 0) + slope * min(z, 0)
    above = graph.add("Relu", z, name=f"{name}.above")
    below = graph.add("Sub", z, above, name=f"{name}.below")
    leak = graph.add("Mul", below, graph.constant("slope", LEAKY_SLOPE, dtype), name=f"{name}.leak")
    return graph.add("Add", above, leak, name=name)


def _is_pair(model: Model) -> bool:
    """One output that tells two classes apart."""
    return model.network.sizes[-1] == 1 and len(model.class_names) == 2


def _name_of_last_layer(model: Model) -> str:
    """What the output layer's activations are called in the file."""
    if model.is_regression:
        return "scaled_values"
    activation = model.network.activations[-1]
    if _is_pair(model) and activation == "sigmoid":
        return "probability"
    return "probabilities" if activation == "softmax" else "outputs"


def _answer_values(graph: Graph, model: Model, a: str) -> None:
    """a / scale + shift in float64, as `Scaling.invert` does it."""
    scaling = model.targets or Scaling(0.0, 1.0)
    y = graph.add("Cast", a, name="unscaled_values", to="float64")
    y = graph.add("Div", y, graph.constant("target_scale", scaling.scale), name="unshifted_values")
    graph.add("Add", y, graph.constant("target_shift", scaling.shift), name="values")
    graph.outputs = [Value("values", "float64", (BATCH, model.network.sizes[-1]))]


def _answer_classes(graph: Graph, model: Model, a: str, dtype: str) -> None:
    """The class that `Model.predict` names, and the numbers it is chosen by."""
    n_classes = len(model.class_names)
    strings = not _are_counted(model.class_names)
    number = "label_number" if strings else "label"
    if _is_pair(model):
        middle = graph.constant("middle", 0.0 if model.network.activations[-1] == "tanh" else 0.5, dtype)
        above = graph.add("Greater", a, middle, name="above_middle")
        column = graph.add("Cast", above, name="label_column", to="int64")
        graph.add("Squeeze", column, name=number, axes=[1])
    else:
        graph.add("ArgMax", a, name=number, axis=1, keepdims=0)
        graph.opset = graph.opset if dtype == "float32" else OPSET_ARGMAX_FLOAT64
    if strings:
        names = graph.constant("class_names", model.class_names, object)
        graph.add("Gather", names, number, name="label", axis=0)
    if a == "probability":
        other = graph.add("Sub", graph.constant("one", 1, dtype), a, name="other_probability")
        a = graph.add("Concat", other, a, name="probabilities", axis=1)
    columns = n_classes if a == "probabilities" else model.network.sizes[-1]
    graph.outputs = [Value("label", "string" if strings else "int64", (BATCH,)), Value(a, dtype, (BATCH, columns))]


def _are_counted(names: Sequence[str]) -> bool:
    """True where the names are 0, 1, 2, ..., so that the class numbers say as much."""
    return all(name == str(number) for number, name in enumerate(names))


def _node(onnx: Any, node: Node) -> Any:
    """A node as the package onnx holds it."""
    attributes = dict(node.attributes)
    if node.operator == "Cast":
        attributes["to"] = _element_type(onnx, attributes["to"])
    return onnx.helper.make_node(node.operator, node.inputs, [node.output], **attributes)


def _value(onnx: Any, value: Value) -> Any:
    """An input or an output as the package onnx holds it."""
    return onnx.helper.make_tensor_value_info(value.name, _element_type(onnx, value.dtype), value.shape)


def _tensor(onnx: Any, name: str, array: Array) -> Any:
    """A constant as the package onnx holds it; numbers are stored as little-endian bytes."""
    kind = _element_type(onnx, array.dtype.name)
    if array.dtype == object:
        return onnx.helper.make_tensor(name, kind, array.shape, [text.encode() for text in array])
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return onnx.helper.make_tensor(name, kind, array.shape, little.tobytes(), raw=True)


def _element_type(onnx: Any, dtype: str) -> int:
    """ONNX's number for a type that NumPy names."""
    return int(getattr(onnx.TensorProto, ELEMENT_TYPES[dtype]))


def _properties(model: Model) -> dict[str, str]:
    """What the file says about where it comes from; every value is a text."""
    described = {
        "fastbp_version": model.fastbp_version,
        "network": str(model.network),
        "data_name": model.data_name,
        "data_sha256": model.data_sha256,
        "class_names": json.dumps(list(model.class_names), ensure_ascii=False) if model.class_names else "",
        "image_shape": json.dumps(list(model.image_shape)) if model.image_shape else "",
    }
    return {key: text for key, text in described.items() if text}
