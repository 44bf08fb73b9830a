"""A trained network with everything it needs to answer: weights, preprocessing, class names. Predict, save, load.

Samples in the units of the training data come in (pixels as 0 to 255, whatever their number type); class numbers,
probabilities or values in the original units go out. Refused: samples of another width, NaN and infinity, and any
file that is not a whole, unchanged model. NumPy only: predicting compiles nothing.

A sample's answer never depends on which other samples come with it, to the last bit.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import __version__
from .activations import CustomActivation
from .data.dataset import unfit_class_names
from .errors import ModelError, UsageError
from .files import write_atomically
from .kernels import layers, reference
from .model_checks import MAX_DESCRIPTION_BYTES, checked_image_shape, checked_parameters, last_part
from .model_file import (
    CHECKPOINT,
    FORMAT_VERSION,
    canonical_json,
    check_tensors,
    decode,
    encode,
    part,
    read_bytes,
    shown,
)
from .network import Network
from .preprocessing import Scaling, code_classes

__all__ = ["Model", "load"]

FloatArray = NDArray[np.floating]

BLOCK_ROWS = 256
_TENSORS = "tensors"  # stands in the description where a scaling is stored as tensors


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network. Frozen; the parameters are a read-only copy.

    Parameters
    ----------
    network : Network
    parameters : (n_parameters,) float32 or float64
        finite; predictions are computed in this precision
    inputs : Scaling
        from samples to the input layer
    targets : Scaling or None
        from target values to the output layer; None for classes
    class_names : tuple of str
        one per output, or two for a single sigmoid, tanh, relu or identity output; empty for target values
    image_shape : (height, width) or None
    config : dict
        settings of the training run, JSON-ready
    data_name, data_sha256 : str
        what it was trained on; of a path only the last part is kept
    fastbp_version : str
        the version that trained it

    Raises
    ------
    UsageError
        parts that do not fit together; the part is named

    Examples
    --------
    >>> network = Network((2, 1), ("step",), "squared_error")
    >>> both = Model(network, np.array([1.0, 1.0, -1.5]), class_names=("no", "yes"))
    >>> both.predict([[0, 1], [1, 1]])
    array([0, 1])
    """

    network: Network
    parameters: FloatArray
    inputs: Scaling = field(default_factory=lambda: Scaling(0.0, 1.0))
    targets: Scaling | None = None
    class_names: tuple[str, ...] = ()
    image_shape: tuple[int, int] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    data_name: str = ""
    data_sha256: str = ""
    fastbp_version: str = __version__

    def __post_init__(self) -> None:
        n_in, n_out = self.network.sizes[0], self.network.sizes[-1]
        object.__setattr__(self, "parameters", checked_parameters(self.network, self.parameters))
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "data_name", last_part(str(self.data_name)))
        if self.inputs.n_features not in (None, n_in):
            raise UsageError(
                f"the input scaling is for {self.inputs.n_features} features, the network has {n_in} inputs"
            )
        if self.targets is not None and self.targets.n_features not in (None, n_out):
            raise UsageError(
                f"the target scaling is for {self.targets.n_features} values, the network has {n_out} outputs"
            )
        if self.class_names:
            self._check_classes(n_out)
        if self.image_shape is not None:
            object.__setattr__(self, "image_shape", checked_image_shape(self.image_shape, n_in))
        if self.data_sha256 and not re.fullmatch("[0-9a-f]{64}", self.data_sha256):
            raise UsageError(f"data_sha256 must be 64 hexadecimal digits, got {shown(self.data_sha256)}")
        if not re.fullmatch(r"[0-9A-Za-z.+!-]{1,64}", self.fastbp_version):
            raise UsageError(f"fastbp_version must be a version such as 0.1.0, got {shown(self.fastbp_version)}")
        try:
            object.__setattr__(self, "config", json.loads(canonical_json(dict(self.config))))
            size = len(canonical_json(self.describe()).encode())
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"config must be plain JSON ({shown(str(error))})") from None
        if size > MAX_DESCRIPTION_BYTES:
            raise UsageError(f"names and config take {size} bytes, a model file holds at most {MAX_DESCRIPTION_BYTES}")

    def _check_classes(self, n_out: int) -> None:
        n_classes = len(self.class_names)
        problem = unfit_class_names(self.class_names)
        if problem is not None:
            raise UsageError(problem)
        if self.targets is not None:
            raise UsageError("a target scaling is for target values, but class names are given")
        if n_classes != n_out and not (n_out == 1 and n_classes == 2 and self.network.activations[-1] != "softmax"):
            raise UsageError(f"{n_classes} class names do not fit {n_out} outputs; one name per output is needed")

    @property
    def is_regression(self) -> bool:
        """True where the outputs are values rather than classes."""
        return not self.class_names

    def outputs(self, x: ArrayLike) -> FloatArray:
        """The output layer's activations.

        Parameters
        ----------
        x : (n, n_features) or (n, height, width) of numbers, in the units of the training data
            pixels run from 0 to 255 whether they are uint8 or float. A single sample needs a leading axis of 1

        Returns
        -------
        outputs : (n, n_outputs)
            softmax: probabilities, in the precision of the parameters. Target values: in their original units, float64.
            Row by row the same bits, however the samples are grouped

        Raises
        ------
        UsageError
            another shape, NaN or infinity, numbers so large that the network overflows
        """
        samples = self._samples(x)
        result = np.empty((len(samples), self.network.sizes[-1]), dtype=self.parameters.dtype)
        for start, _, a in self._blocks(samples):
            result[start : start + len(a)] = a
        return result if self.targets is None else self.targets.invert(result)

    def predict(self, x: ArrayLike) -> NDArray[Any]:
        """The answers: class numbers (n,) int64, or target values (n, n_outputs) float64.

        The class is the largest output's number, the first of equals. A single output says class 1 above 0.5, with tanh
        above 0.

        Parameters
        ----------
        x : as for `outputs`, with the same errors
        """
        outputs = self.outputs(x)
        return outputs.astype(np.float64, copy=False) if self.is_regression else self._classes(outputs)

    def evaluate(self, x: ArrayLike, y: ArrayLike) -> tuple[float, float | None]:
        """The mean cost per sample, without weight decay, and the accuracy (None for target values).

        Parameters
        ----------
        x : as for `outputs`
        y : (n,) class numbers, or (n, n_outputs) target values in their original units
            the cost of target values is that of the scaled ones, as in training

        Raises
        ------
        UsageError
            as for `outputs`; no samples; counts that differ; a label that is no class

        Examples
        --------
        >>> network = Network((1, 2), ("softmax",), "cross_entropy")
        >>> loss, accuracy = Model(network, np.zeros(4), class_names=("a", "b")).evaluate([[1.0], [2.0]], [0, 1])
        >>> round(loss, 6), accuracy
        (0.693147, 0.5)
        """
        samples = self._samples(x)
        rows, labels = self._targets(y, len(samples))
        cost = reference.COST[self.network.cost]
        total, n_right = 0.0, 0
        for start, z, a in self._blocks(samples):
            part = slice(start, start + len(a))
            total += reference.loss(z.astype(np.float64), a.astype(np.float64), rows[part], cost)
            if labels is not None:
                n_right += int((self._classes(a) == labels[part]).sum())
        return total / len(samples), None if labels is None else n_right / len(samples)

    def describe(self) -> dict[str, Any]:
        """Everything but the weights, JSON-ready: what the file's metadata says."""
        return {
            "format": FORMAT_VERSION,
            "fastbp": self.fastbp_version,
            "network": {
                "sizes": list(self.network.sizes),
                "activations": list(self.network.activations),
                "cost": self.network.cost,
                **(
                    {"custom_activations": [each.name for each in self.network.customs]} if self.network.customs else {}
                ),
            },
            "dtype": self.parameters.dtype.name,
            "inputs": _describe_scaling(self.inputs),
            "targets": None if self.targets is None else _describe_scaling(self.targets),
            "class_names": list(self.class_names),
            "image_shape": None if self.image_shape is None else list(self.image_shape),
            "config": dict(self.config),
            "data": {"name": self.data_name, "sha256": self.data_sha256},
        }

    def to_bytes(self) -> bytes:
        """The model file's contents. The same model gives the same bytes."""
        tensors: dict[str, NDArray[Any]] = {}
        for layer, (W, b) in enumerate(self.network.layers_of(self.parameters), start=1):
            tensors[f"weights.{layer}"], tensors[f"biases.{layer}"] = W, b
        for name, scaling in (("input", self.inputs), ("target", self.targets)):
            if scaling is not None and isinstance(scaling.shift, np.ndarray):
                tensors[f"{name}.shift"], tensors[f"{name}.scale"] = scaling.shift, np.asarray(scaling.scale)
        return encode(self.describe(), tensors)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file that `load` reads back bit for bit; an older file at `path` is replaced whole.

        Raises
        ------
        FastbpError
            the file cannot be written; an older one is untouched

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> model = Model(Network((1, 1), ("identity",), "squared_error"), np.array([2.0, 1.0]))
        >>> with TemporaryDirectory() as folder:
        ...     model.save(folder + "/line.safetensors")
        ...     float(load(folder + "/line.safetensors").predict([[10.0]])[0, 0])
        21.0
        """
        write_atomically(path, self.to_bytes())

    def _samples(self, x: ArrayLike) -> NDArray[Any]:
        """x as (n, n_features) of numbers; finiteness is checked block by block."""
        n_features, image = self.network.sizes[0], self.image_shape
        try:
            values = np.asarray(x)
        except ValueError:
            raise UsageError("x must be one array of numbers, got rows of different lengths") from None
        if values.dtype.kind not in "buif":
            raise UsageError(f"x must hold numbers, got dtype {values.dtype}")
        accepted = f"(n, {n_features})" + (f" or (n, {image[0]}, {image[1]})" if image else "")
        fits = values.ndim == 2 and values.shape[1] == n_features
        fits |= values.ndim == 3 and (values.shape[1:] == image if image else values[:1].size == n_features)
        if not fits:
            hint = ""
            if values.shape in ((n_features,), image):
                hint = "; a single sample needs a leading axis of 1: x[None]"
            raise UsageError(f"x must have shape {accepted}, got {values.shape}{hint}")
        return values.reshape(len(values), n_features)

    def _targets(self, y: ArrayLike, n_samples: int) -> tuple[FloatArray, NDArray[Any] | None]:
        """y as float64 rows of the output layer, and as class numbers where it holds these."""
        values, n_out = np.asarray(y), self.network.sizes[-1]
        if values.ndim == 0 or len(values) != n_samples:
            raise UsageError(f"x has {n_samples} samples and y has shape {values.shape}; they must be equally many")
        if n_samples == 0:
            raise UsageError("there are no samples to evaluate; at least 1 is needed")
        if not self.is_regression:
            return code_classes(values, n_out, self.network.activations[-1], np.float64), values
        if values.dtype.kind not in "buif" or values[:1].size != n_out or values.ndim > 2:
            raise UsageError(
                f"y must hold numbers of shape (n, {n_out}), got dtype {values.dtype} and shape {values.shape}"
            )
        rows = values.reshape(n_samples, n_out)
        return (self.targets or Scaling(0.0, 1.0)).apply(rows, np.float64), None

    def _blocks(self, samples: NDArray[Any]) -> Iterator[tuple[int, FloatArray, FloatArray]]:
        """(first row, z, a) of the output layer, for some rows at a time, so that memory stays small."""
        for start in range(0, len(samples), BLOCK_ROWS):
            block = samples[start : start + BLOCK_ROWS]
            if block.dtype.kind == "f" and not np.isfinite(block).all():
                row, column = np.argwhere(~np.isfinite(block))[0]
                raise UsageError(
                    f"x holds {block[row, column]} in row {start + row}, column {column}; every value must be finite"
                )
            a = self.inputs.apply(block, self.parameters.dtype, first_row=start)
            z = a
            kinds = layers.activations_of(self.network)
            for layer, (W, b) in enumerate(self.network.layers_of(self.parameters)):
                z, a = _forward(a, W, b, kinds[layer], self.network.sizes[layer + 1])
                if not np.isfinite(z).all():
                    row = start + int(np.argwhere(~np.isfinite(z))[0, 0])
                    raise UsageError(
                        f"row {row} of x overflows {z.dtype} in layer {layer + 2}; its values lie far outside those "
                        "that the network was trained on"
                    )
            yield start, z, a

    def _classes(self, outputs: FloatArray) -> NDArray[np.int64]:
        """The class number that each row of activations stands for."""
        if outputs.shape[1] == 1 and len(self.class_names) == 2:
            middle = 0.0 if self.network.activations[-1] == "tanh" else 0.5
            return np.asarray(outputs[:, 0] > middle, dtype=np.int64)
        return np.asarray(outputs.argmax(axis=1), dtype=np.int64)


def load(path: str | os.PathLike[str], *, activations: Iterable[CustomActivation] = ()) -> Model:
    """Read a model file that `Model.save` or ``fastbp train`` wrote.

    Parameters
    ----------
    path : path
    activations : iterable of CustomActivation
        activations of your own, of which a file holds the names; those that it does not name are left out

    Raises
    ------
    ModelError
        no such file, damaged, written by something else, or parts that do not fit together; the message names the
        file, what was found and what was expected
    UsageError
        an activation of the file's own that is not given, or given twice

    Examples
    --------
    >>> model = Model(Network((1, 1), ("identity",), "squared_error"), np.array([2.0, 1.0]))
    >>> model.save("line.safetensors")
    >>> load("line.safetensors").predict([[10.0]]).tolist()
    [[21.0]]
    """
    description, tensors = decode(read_bytes(path), path)
    if description.get("kind") == CHECKPOINT:
        raise ModelError(
            f"{shown(path)}: a checkpoint, for --resume; the run's best model is the model.safetensors there"
        )
    own: dict[str, CustomActivation] = {}
    for each in activations:
        if not isinstance(each, CustomActivation) or own.setdefault(each.name, each) != each:
            raise UsageError(f"activations must be CustomActivations with a name of its own each, got {each!r}")
    for name in _custom_names(description):
        if name not in own:
            raise UsageError(
                f"{shown(path)} needs the activation {name}, whose functions no model file holds; give them in Python: "
                f"load(path, activations=[CustomActivation({name!r}, f, f_prime)])"
            )
    try:
        return _assemble(description, tensors, own)
    except UsageError as error:
        raise ModelError(f"{shown(path)}: {error}; use a file that fastbp train saved") from None


def _forward(
    x: FloatArray, W: FloatArray, b: FloatArray, activation: int | CustomActivation, n_out: int
) -> tuple[FloatArray, FloatArray]:
    """One layer's z and a, each row on its own.

    A matrix product may add up a row in an order that depends on where the row stands (seen in OpenBLAS: its Haswell
    kernels from 8 units on, its AVX-512 ones in float64 at 300). With one more axis NumPy makes a vector-matrix product
    of each row, always the same one, in about twice the time: 0.7 instead of 0.35 us a row at 784 x 16.
    """
    rows = x[:, None, :]
    z = np.empty((len(x), 1, len(b)), dtype=x.dtype)
    a = np.empty((len(x), 1, n_out), dtype=x.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        layers.forward(reference, rows, W, b, activation, z, a)
    return z[:, 0], a[:, 0]


def _custom_names(description: dict[str, Any]) -> list[str]:
    """The names of a file's own activations."""
    shape = description.get("network")
    names = shape.get("custom_activations", []) if isinstance(shape, dict) else []
    return [shown(str(name)) for name in names] if isinstance(names, list) else []


def _assemble(
    description: dict[str, Any], tensors: dict[str, NDArray[Any]], own: Mapping[str, CustomActivation]
) -> Model:
    """The model that a file's contents make; UsageError where they do not fit together."""
    shape, data = part(description, "network", dict), part(description, "data", dict)
    sizes, activations = part(shape, "sizes", list), part(shape, "activations", list)
    own = {name: own[name] for name in _custom_names(description)}
    names = [shown(str(name)) for name in activations]
    network = Network(sizes, [own.get(name, name) for name in names], shown(part(shape, "cost", str)))
    dtype = part(description, "dtype", str)
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {}
    for layer, shape_of_weights in enumerate(network.shapes, start=1):
        wanted[f"weights.{layer}"], wanted[f"biases.{layer}"] = (dtype, shape_of_weights), (dtype, shape_of_weights[1:])
    theta_names = list(wanted)
    for name, key, n in (("input", "inputs", network.sizes[0]), ("target", "targets", network.sizes[-1])):
        if description.get(key) == _TENSORS:
            wanted[f"{name}.shift"] = wanted[f"{name}.scale"] = ("float64", (n,))
    check_tensors(tensors, wanted, shown(str(network)))
    image_shape = description.get("image_shape")
    return Model(
        network,
        np.concatenate([tensors[name].ravel() for name in theta_names]).astype(dtype),
        inputs=_scaling(description, "inputs", tensors, "input"),
        targets=None if description.get("targets") is None else _scaling(description, "targets", tensors, "target"),
        class_names=tuple(part(description, "class_names", list)),
        image_shape=None if image_shape is None else tuple(part(description, "image_shape", list)),
        config=part(description, "config", dict),
        data_name=part(data, "name", str),
        data_sha256=part(data, "sha256", str),
        fastbp_version=part(description, "fastbp", str),
    )


def _scaling(description: dict[str, Any], key: str, tensors: dict[str, NDArray[Any]], name: str) -> Scaling:
    """The scaling that the description holds as two numbers, or the file as two tensors."""
    if description.get(key) == _TENSORS:
        return Scaling(tensors[f"{name}.shift"], tensors[f"{name}.scale"])
    numbers = part(description, key, dict)
    return Scaling(part(numbers, "shift", float), part(numbers, "scale", float))


def _describe_scaling(scaling: Scaling) -> dict[str, Any] | str:
    """Two numbers as they are; vectors go into tensors."""
    return _TENSORS if scaling.n_features is not None else {"shift": scaling.shift, "scale": scaling.scale}
