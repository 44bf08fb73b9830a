"""Between the units of the data and the units of the network: one shift and one scale per number.

    x_network = (x - shift) * scale

Raw samples and target values come in, scaled arrays go out, and `invert` brings predictions back. The statistics are
those of the training set alone. Sparse samples (`kernels.CsrRows`) stay sparse where no shift moves their zeros. Class
numbers become target rows here too, in `code_classes`: the one place that knows
their coding. Refused: numbers that do not fit the network's precision once scaled, labels that are no class.

Everything is computed in float64 and rounded once, in blocks of rows: a large array of bytes is never copied whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .errors import UsageError
from .kernels import CsrRows

__all__ = ["Scaling", "code_classes", "fit_inputs", "fit_targets"]

FloatArray = NDArray[np.float64]

BLOCK_VALUES = 1 << 18  # numbers in a block: 2 MB of float64, which stays in the cache
SMALLEST_RANGE = 2.0**-1000  # below it a feature counts as constant, so that 2 / range stays finite


@dataclass(frozen=True, eq=False)
class Scaling:
    """x_network = (x - shift) * scale

    Parameters
    ----------
    shift, scale : float, or (n_features,) float64
        both of the same kind; finite, and no scale is 0. Arrays are copied and made read-only

    Raises
    ------
    UsageError
        a shift or a scale outside of these

    Examples
    --------
    >>> import numpy as np
    >>> pixels = Scaling(0.0, 1 / 255)
    >>> pixels.apply(np.array([[0, 51, 255]], dtype=np.uint8), "float32")
    array([[0. , 0.2, 1. ]], dtype=float32)
    >>> Scaling(np.array([10.0, 0.0]), np.array([0.5, 1.0])).invert(np.array([[1.0, 3.0]]))
    array([[12.,  3.]])
    """

    shift: float | FloatArray
    scale: float | FloatArray

    def __post_init__(self) -> None:
        shift, scale = (np.array(value, dtype=np.float64) for value in (self.shift, self.scale))
        if shift.shape != scale.shape or shift.ndim > 1 or shift.size == 0:
            raise UsageError(
                f"shift and scale must be two numbers or two vectors of one length, got shapes {shift.shape} "
                f"and {scale.shape}"
            )
        if not (np.isfinite(shift).all() and np.isfinite(scale).all() and (scale != 0).all()):
            raise UsageError("shift and scale must be finite, and no scale may be 0")
        for name, value in (("shift", shift), ("scale", scale)):
            value.setflags(write=False)
            object.__setattr__(self, name, value if value.ndim else float(value))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scaling):
            return NotImplemented
        return np.array_equal(self.shift, other.shift) and np.array_equal(self.scale, other.scale)

    __hash__ = None  # type: ignore[assignment]

    @property
    def n_features(self) -> int | None:
        """Length of the vectors; None where two numbers serve every feature."""
        return len(self.shift) if isinstance(self.shift, np.ndarray) else None

    def apply(self, x: ArrayLike, dtype: DTypeLike, first_row: int = 0) -> NDArray[Any]:
        """The network's view of x, as a new array.

        Parameters
        ----------
        x : (n, n_features) of numbers
        dtype : float32 or float64
            of the result; the arithmetic is in float64
        first_row : int
            number of the first row, for messages

        Returns
        -------
        x_network : (n, n_features) of dtype

        Raises
        ------
        UsageError
            a value that is not a finite number of that dtype once scaled; row and column are named
        """
        samples = np.asarray(x)
        result = np.empty(samples.shape, dtype=dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for start, block in _blocks(samples):
                # halved first, so that the difference of two huge numbers stays finite; halving is exact
                scaled = block * 0.5
                if np.any(self.shift):
                    scaled -= np.multiply(self.shift, 0.5)
                scaled *= np.multiply(self.scale, 2.0)
                part = result[start : start + len(block)]
                part[...] = scaled
                if samples.dtype.kind != "u" and not np.isfinite(part).all():
                    row, column = np.argwhere(~np.isfinite(part))[0]
                    raise _not_finite(first_row + start + row, column, block[row, column], result.dtype)
        return result

    def apply_sparse(self, x: CsrRows, dtype: DTypeLike) -> CsrRows:
        """The network's view of sparse samples, with new `data`.

        Raises
        ------
        UsageError
            as for `apply`; a shift that is not 0

        Examples
        --------
        >>> import numpy as np
        >>> x = CsrRows(np.array([4.0, 6.0]), np.array([2, 0], np.int32), np.array([0, 1, 2]), 3)
        >>> Scaling(np.zeros(3), np.array([0.5, 1.0, 0.25])).apply_sparse(x, "float32").data
        array([1., 3.], dtype=float32)
        """
        if np.any(self.shift):
            raise UsageError("this scaling shifts zeros, of which sparse samples consist; use normalize scale or none")
        factors = self.scale[x.indices] if isinstance(self.scale, np.ndarray) else self.scale
        with np.errstate(over="ignore", invalid="ignore"):
            data = (x.data * np.float64(1.0) * factors).astype(dtype)
        if not np.isfinite(data).all():
            at = int(np.argmin(np.isfinite(data)))
            row = int(np.searchsorted(x.indptr, at, side="right")) - 1
            raise _not_finite(row, int(x.indices[at]), float(x.data[at]), data.dtype)
        return x._replace(data=data)

    def invert(self, y: ArrayLike) -> FloatArray:
        """Back to the units of the data: y / scale + shift, float64.

        Parameters
        ----------
        y : (n, n_features) of numbers, in the network's units
        """
        half = np.asarray(y, dtype=np.float64) * 0.5 / self.scale
        return (half + np.multiply(self.shift, 0.5)) * 2.0


def fit_inputs(x_train: NDArray[Any] | CsrRows, how: str = "auto") -> Scaling:
    """The scaling of a training set's samples.

    Parameters
    ----------
    x_train : (n, n_features) uint8, float32 or float64; or CsrRows
    how : str
        none: as they are. unit: bytes by the constant 1/255, floats to [0, 1] per feature. standard: mean 0 and
        deviation 1 per feature. auto: unit for bytes, standard for floats. A feature that never changes becomes 0.
        scale: deviation 1 per feature, and zeros stay zeros, so that sparse samples stay sparse; a feature that never
        changes keeps its values

    Raises
    ------
    UsageError
        another name, or no samples; CsrRows and another way than none and scale

    Examples
    --------
    >>> import numpy as np
    >>> fit_inputs(np.array([[1.0, 5.0], [3.0, 5.0]]), "unit").apply([[2.0, 5.0]], "float64")
    array([[0.5, 0. ]])
    """
    if how not in ("auto", "none", "unit", "standard", "scale"):
        raise UsageError(f"normalize must be one of auto, none, unit, standard, scale, got {how!r}")
    if x_train.shape[0] == 0:
        raise UsageError("there are no samples to take a scaling from; at least 1 is needed")
    if isinstance(x_train, CsrRows):
        if how not in ("none", "scale"):
            raise UsageError(f"normalize {how} shifts zeros, of which sparse samples consist; use scale or none")
        return Scaling(0.0, 1.0) if how == "none" else _to_deviation(x_train)
    if how == "scale":
        return _to_deviation(x_train)
    is_bytes = x_train.dtype == np.uint8
    if how == "auto":
        how = "unit" if is_bytes else "standard"
    if how == "none":
        return Scaling(0.0, 1.0)
    if how == "standard":
        return _standard(x_train)
    return Scaling(0.0, 1.0 / 255.0) if is_bytes else _to_range(x_train, 0.0)


def fit_targets(y_train: NDArray[Any], output_activation: str) -> Scaling:
    """The scaling of target values to what the output layer can reach.

    Parameters
    ----------
    y_train : (n, n_outputs) float64
    output_activation : str
        identity: mean 0 and deviation 1 per output. sigmoid, relu, leaky_relu, step: [0, 1]. tanh: [-1, 1]. Values
        that never change become 0, but 1/2 for sigmoid, which never is 0

    Raises
    ------
    UsageError
        softmax, which is for classes; or no samples

    Examples
    --------
    >>> import numpy as np
    >>> y = np.array([[10.0], [30.0]])
    >>> fit_targets(y, "tanh").apply(y, "float64").ravel()
    array([-1.,  1.])
    """
    if len(y_train) == 0:
        raise UsageError("there are no target values to take a scaling from; at least 1 sample is needed")
    if output_activation == "identity":
        return _standard(y_train)
    if output_activation == "tanh":
        return _to_range(y_train, -1.0)
    if output_activation in ("sigmoid", "relu", "leaky_relu", "step"):
        return _to_range(y_train, 0.0, 0.5 if output_activation == "sigmoid" else 0.0)
    if output_activation == "exponential":  # the mean of counts, which are what they are
        if np.min(y_train) < 0:
            raise UsageError(f"output_activation exponential needs target values of 0 or more, got {np.min(y_train):g}")
        return Scaling(0.0, 1.0)
    raise UsageError(f"target values need an output_activation other than softmax, got {output_activation}")


def code_classes(
    labels: ArrayLike, n_outputs: int, output_activation: str, dtype: DTypeLike = "float32"
) -> NDArray[Any]:
    """Class numbers as the rows that the outputs should become.

    Parameters
    ----------
    labels : (n,) class numbers
        from 0 to n_outputs - 1; a single output that is not softmax tells two classes, 0 and 1, apart
    n_outputs : int
    output_activation : str
        off and on are -1 and +1 for tanh, else 0 and 1
    dtype : float32 or float64

    Returns
    -------
    y : (n, n_outputs)

    Raises
    ------
    UsageError
        a label that is no class

    Examples
    --------
    >>> code_classes([2, 0], 3, "tanh")
    array([[-1., -1.,  1.],
           [ 1., -1., -1.]], dtype=float32)
    >>> code_classes([0, 1], 1, "sigmoid")
    array([[0.],
           [1.]], dtype=float32)
    """
    numbers = np.asarray(labels)
    if numbers.ndim != 1 or (len(numbers) and numbers.dtype.kind not in "bui"):
        raise UsageError(
            f"labels must be a vector of class numbers, got shape {numbers.shape} and dtype {numbers.dtype}"
        )
    numbers = numbers.astype(np.int64, copy=False)
    is_pair = n_outputs == 1 and output_activation != "softmax"
    n_classes = 2 if is_pair else n_outputs
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= n_classes):
        wrong = numbers.min() if numbers.min() < 0 else numbers.max()
        raise UsageError(f"labels hold the class {wrong}; classes run from 0 to {n_classes - 1}")
    off = -1.0 if output_activation == "tanh" else 0.0
    if is_pair:
        return np.where(numbers[:, None] == 1, 1.0, off).astype(dtype)
    y = np.full((len(numbers), n_outputs), off, dtype=dtype)
    y[np.arange(len(numbers)), numbers] = 1
    return y


def _blocks(x: NDArray[Any], dtype: Any = np.float64) -> Iterator[tuple[int, NDArray[Any]]]:
    """The rows of x, some at a time, each with the number of its first row."""
    n_rows = max(1, BLOCK_VALUES // max(1, x[:1].size))
    for start in range(0, len(x), n_rows):
        yield start, x[start : start + n_rows].astype(dtype)


class _Spread(NamedTuple):
    """Of each column, (n_features,) float64."""

    low: FloatArray
    mean: FloatArray
    deviation: FloatArray  # that of the population; 1 where the column never changes
    is_constant: NDArray[np.bool_]


def _standard(x: NDArray[Any]) -> Scaling:
    """Mean 0, deviation 1 per column; a column that never changes becomes 0."""
    spread = _spread(x)
    return Scaling(np.where(spread.is_constant, spread.low, spread.mean), 1.0 / spread.deviation)


def _to_deviation(x: NDArray[Any] | CsrRows) -> Scaling:
    """Deviation 1 per column, without a shift; a column that never changes stays what it is."""
    deviation = _spread(x).deviation
    return Scaling(np.zeros_like(deviation), 1.0 / deviation)


def _spread(x: NDArray[Any] | CsrRows) -> _Spread:
    n = x.shape[0]
    low, high = _extremes(x)
    # sums of squares of huge or tiny numbers leave float64: measure in powers of two near the largest one
    exponent = np.frexp(np.maximum(np.abs(low), np.abs(high)))[1]
    unit = np.ldexp(1.0, np.clip(exponent, -1000, 1000))
    zero = np.zeros_like(low)
    if not isinstance(x, CsrRows) and x.dtype == np.uint8:
        unit = zero + 1.0
        mean, squares = _of_bytes(x)
    elif isinstance(x, CsrRows):
        values = x.data / unit[x.indices]
        mean = _column_sums(x, values) / n
        n_zeros = n - np.bincount(x.indices, minlength=x.n_features)
        squares = _column_sums(x, (values - mean[x.indices]) ** 2) + n_zeros * mean**2
    else:
        mean = sum(((block / unit).sum(axis=0) for _, block in _blocks(x)), start=zero) / n
        squares = sum((((block / unit - mean) ** 2).sum(axis=0) for _, block in _blocks(x)), start=zero)
    deviation = np.sqrt(squares / n) * unit
    is_constant = (low == high) | (deviation < SMALLEST_RANGE)
    return _Spread(low, mean * unit, np.where(is_constant, 1.0, deviation), is_constant)


def _of_bytes(x: NDArray[np.uint8]) -> tuple[FloatArray, FloatArray]:
    """Mean of each column, and its sum of squared distances from that: from whole numbers, without rounding.

    On the 60,000 images of MNIST it takes a tenth of the time of two passes in float64.
    """
    n, total, squares = len(x), np.zeros(x.shape[1], np.int64), np.zeros(x.shape[1], np.int64)
    for _, block in _blocks(x, np.uint16):  # 255 * 255 is less than 2^16
        total += block.sum(axis=0, dtype=np.int64)
        squares += (block * block).sum(axis=0, dtype=np.int64)
    # Python's whole numbers have no limit
    exact = [(n * square - each * each) / n for each, square in zip(total.tolist(), squares.tolist(), strict=True)]
    return total / n, np.array(exact)


def _extremes(x: NDArray[Any] | CsrRows) -> tuple[FloatArray, FloatArray]:
    """The smallest and the largest value of each column."""
    if not isinstance(x, CsrRows):
        return x.min(axis=0).astype(np.float64), x.max(axis=0).astype(np.float64)
    has_zeros = np.bincount(x.indices, minlength=x.n_features) < x.shape[0]
    low, high = np.where(has_zeros, 0.0, np.inf), np.where(has_zeros, 0.0, -np.inf)
    np.minimum.at(low, x.indices, x.data)
    np.maximum.at(high, x.indices, x.data)
    return low, high


def _column_sums(x: CsrRows, values: FloatArray) -> FloatArray:
    return np.bincount(x.indices, weights=values, minlength=x.n_features).astype(np.float64, copy=False)


def _not_finite(row: int, column: int, value: float, dtype: Any) -> UsageError:
    return UsageError(
        f"row {row}, column {column} holds {value:g}, which is not a finite {dtype} once scaled; remove the value, or "
        "rescale the column"
    )


def _to_range(x: NDArray[Any], bottom: float, constant: float = 0.0) -> Scaling:
    """Smallest value to `bottom` (0 or -1), largest to 1, per column; what never changes becomes `constant`."""
    low, high = x.min(axis=0).astype(np.float64), x.max(axis=0).astype(np.float64)
    half = high * 0.5 - low * 0.5
    is_constant = half < SMALLEST_RANGE
    half = np.where(is_constant, 1.0, half)
    if bottom == 0.0:
        return Scaling(np.where(is_constant, low - constant, low), np.where(is_constant, 1.0, 0.5 / half))
    return Scaling(np.where(is_constant, low - constant, low * 0.5 + high * 0.5), 1.0 / half)
