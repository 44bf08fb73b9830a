"""The GPU, through Numba: the five stages on arrays that are there, and what all kernels for it are made with.

    from fastbp.kernels.cuda import forward, output_delta, hidden_delta, gradient, update

are the stages of `reference`, name by name, for research code whose arrays are on the GPU. `cuda_engine` trains whole
networks. This is the only file that imports `numba.cuda`, so that moving to another package changes some lines here.
Import it where a GPU is asked for, and nowhere else: `fastbp.gpu` says beforehand, without it, what is missing.

With NUMBA_ENABLE_CUDASIM=1 in the environment all kernels run in Numba's simulator, as plain Python: there each of the
functions for memory access is the few lines that say what it means, and elsewhere the LLVM instructions beside them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numba import config, types
from numba.core.errors import TypingError

from ..errors import UsageError
from . import codes
from .scalars import activate, activate_prime

if not hasattr(np, "row_stack"):
    # numba-cuda 0.30 looks for it at every compilation, and NumPy 2.5 has it no more.
    np.row_stack = np.vstack

from numba import cuda

__all__ = [
    "SIMULATED",
    "at",
    "bytes_of",
    "compiled",
    "cuda",
    "device",
    "divided",
    "is_out_of_memory",
    "launch",
    "pair",
    "put",
    "put_quad",
    "quad",
    "wrapping",
]

SIMULATED = bool(config.ENABLE_CUDASIM)


def device(function: Any) -> Any:
    """A function for kernels to call. It dissolves into them, or arrays of registers would go through memory."""
    return function if SIMULATED else cuda.jit(device=True, forceinline=True)(function)


def compiled(function: Any, n_threads: int, n_blocks: int) -> Any:
    """A kernel for blocks of at most n_threads, of which n_blocks are to fit into a multiprocessor's registers."""
    if SIMULATED:
        return cuda.jit(function)
    return cuda.jit(launch_bounds=(n_threads, n_blocks))(function)


def launch(kernel: Any, blocks: Any, threads: Any, *arguments: Any, shared_bytes: int = 0) -> None:
    """Start a kernel on the current device; it may still run when this returns.

    Numba warns of few blocks, and a network or two are few: that is meant here.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Grid size .* will likely result in GPU under-utilization")
        configured = kernel[blocks, threads, 0, shared_bytes]
    configured(*arguments)


def wrapping(function: Any) -> Any:
    """A shared function whose 64-bit words wrap around: silently on a GPU, with a warning in NumPy's scalars."""
    return np.errstate(over="ignore")(function) if SIMULATED else function


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception of the driver says that the GPU's memory is full."""
    return getattr(error, "code", None) == 2 or "OUT_OF_MEMORY" in str(error)


# --- access to memory: plain Python, and the instructions that mean the same ------------------------------------------


def at(array, i):
    """array[i] of a one-dimensional array, i at least 0"""
    return array[i]


def put(array, i, value):
    """array[i] = value"""
    array[i] = value


def divided(i, n):
    """i // n, i % n, of whole numbers from 0 to 2^31 - 1

    In 32 bits: a GPU puts divisions together from other instructions, and takes more of them for 64.
    """
    return i // n, i % n


def pair(array, i):
    """array[i], array[i + 1], i even: one load of 8 bytes"""
    return array[i], array[i + 1]


def quad(array, i):
    """array[i], ..., array[i + 3], i a multiple of 4: one load of 16 bytes"""
    return array[i], array[i + 1], array[i + 2], array[i + 3]


def put_quad(array, i, v0, v1, v2, v3):
    """array[i], ..., array[i + 3] = v0, ..., v3, i a multiple of 4: one store of 16 bytes"""
    array[i], array[i + 1], array[i + 2], array[i + 3] = v0, v1, v2, v3


def bytes_of(four):
    """The four bytes of a uint32 as float32, the lowest first"""
    return tuple(np.float32((int(four) >> shift) & 255) for shift in (0, 8, 16, 24))


if not SIMULATED:
    from llvmlite import ir
    from numba.core.cgutils import get_or_insert_function
    from numba.cuda.extending import intrinsic

    _i32, _i64, _f32 = ir.IntType(32), ir.IntType(64), ir.FloatType()

    def _pointer(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        """The address of element i: no wrap-around, no bounds. Hot loops take 1.5 instructions per multiply-add."""
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        index, kind = arguments[1], signature.args[1]
        if kind.bitwidth < 64:
            index = (builder.sext if kind.signed else builder.zext)(index, _i64)
        return builder.gep(array.data, [index])

    def _check(array: Any, i: Any) -> None:
        if not (isinstance(array, types.Array) and array.ndim == 1 and isinstance(i, types.Integer)):
            raise TypingError(f"unchecked access takes a one-dimensional array and an integer, got {array} and {i}")

    @intrinsic
    def at(typing_context, array, i):
        _check(array, i)

        def generate(context, builder, signature, arguments):
            return builder.load(_pointer(context, builder, signature, arguments))

        return array.dtype(array, i), generate

    @intrinsic
    def put(typing_context, array, i, value):
        _check(array, i)

        def generate(context, builder, signature, arguments):
            builder.store(arguments[2], _pointer(context, builder, signature, arguments))
            return context.get_dummy_value()

        return types.void(array, i, array.dtype), generate

    @intrinsic
    def divided(typing_context, i, n):
        def generate(context, builder, signature, arguments):
            i, n = (
                builder.trunc(argument, _i32) if kind.bitwidth > 32 else argument
                for argument, kind in zip(arguments, signature.args, strict=True)
            )
            quotient = builder.udiv(i, n)
            remainder = builder.sub(i, builder.mul(quotient, n))
            return context.make_tuple(builder, signature.return_type, [quotient, remainder])

        return types.UniTuple(types.int32, 2)(i, n), generate

    def _vector(builder: Any, pointer: Any, n: int) -> Any:
        return builder.bitcast(pointer, ir.VectorType(_f32, n).as_pointer(pointer.type.addrspace))

    def _load(n: int) -> Any:
        def typed(typing_context, array, i):
            _check(array, i)

            def generate(context, builder, signature, arguments):
                pointer = _pointer(context, builder, signature, arguments)
                vector = builder.load(_vector(builder, pointer, n), align=4 * n)
                values = [builder.extract_element(vector, _i32(lane)) for lane in range(n)]
                return context.make_tuple(builder, signature.return_type, values)

            return types.UniTuple(types.float32, n)(array, i), generate

        return intrinsic(typed)

    pair, quad = _load(2), _load(4)

    @intrinsic
    def put_quad(typing_context, array, i, v0, v1, v2, v3):
        _check(array, i)

        def generate(context, builder, signature, arguments):
            pointer = _pointer(context, builder, signature, arguments)
            vector = ir.Constant(ir.VectorType(_f32, 4), ir.Undefined)
            for lane, value in enumerate(arguments[2:]):
                vector = builder.insert_element(vector, value, _i32(lane))
            builder.store(vector, _vector(builder, pointer, 4), align=16)
            return context.get_dummy_value()

        f4 = types.float32
        return types.void(array, i, f4, f4, f4, f4), generate

    @intrinsic
    def bytes_of(typing_context, four):
        """The byte becomes the last bits of 2^23 as a float: two cheap instructions, for a conversion that is slow."""

        def generate(context, builder, signature, arguments):
            kind = ir.FunctionType(_i32, [_i32, _i32, _i32])
            permute = get_or_insert_function(builder.module, kind, "llvm.nvvm.prmt")
            values = []
            for byte in range(4):
                number = builder.call(permute, [arguments[0], _i32(0x4B000000), _i32(0x7440 + byte)])
                values.append(builder.fsub(builder.bitcast(number, _f32), _f32(2.0**23)))
            return context.make_tuple(builder, signature.return_type, values)

        return types.UniTuple(types.float32, 4)(types.uint32), generate


# --- the stages of backpropagation on arrays that are on the GPU ------------------------------------------------------

SIDE = 16  # threads of a block's side: products go through shared memory in squares of it
SQUARE = (SIDE, SIDE)
LINE = 256  # threads of a block where each has one number


def forward(x: Any, W: Any, b: Any, activation: int, z: Any, a: Any) -> None:
    """z[i, j] = b[j] + sum_k x[i, k] W[k, j], a = f(z)

    x   f4|f8 (n_batch, n_in)    in
    W   f4|f8 (n_in, n_out)      in
    b   f4|f8 (n_out,)           in
    z   f4|f8 (n_batch, n_out)   out   net input; may be the same array as `a` where it is not needed
    a   f4|f8 (n_batch, n_out)   out   activation

    All are arrays on the GPU: Numba's own, or of any library with the CUDA array interface (CuPy, PyTorch). This and
    the next stages return before the GPU has finished. They raise ValueError for arrays that are elsewhere, of other
    types or of shapes that do not fit, and for an activation that is not one of the numbers in `codes`.
    """
    n_batch, n_in, n_out = *_shape(x, "x", 2), _shape(W, "W", 2)[1]
    wanted = {"x": (n_batch, n_in), "W": (n_in, n_out), "b": (n_out,), "z": (n_batch, n_out), "a": (n_batch, n_out)}
    kernels, (x, W, b, z, a) = _ready("forward", wanted, x, W, b, z, a)
    if not codes.STEP <= activation <= codes.EXPONENTIAL:
        raise UsageError(f"forward needs an activation code from STEP (0) to EXPONENTIAL (7), got {activation}")
    launch(kernels["forward"], _squares(n_batch, n_out), SQUARE, x, W, b, activation, z, a)
    if activation == codes.SOFTMAX:
        launch(kernels["softmax"], -(-n_batch // LINE), LINE, z, a)


def output_delta(a: Any, y: Any, activation: int, cost: int, delta: Any) -> None:
    """delta[i, j] = dJ/da[i, j] f'(z[i, j]), with f' taken from a

    a       f4|f8 (n_batch, n_out)   in    activation of the output layer
    y       f4|f8 (n_batch, n_out)   in    target
    delta   f4|f8 (n_batch, n_out)   out

    Softmax with cross-entropy, sigmoid with binary cross-entropy and exponential with Poisson simplify to a - y.
    """
    shape = _shape(a, "a", 2)
    kernels, (a, y, delta) = _ready("output_delta", {"a": shape, "y": shape, "delta": shape}, a, y, delta)
    if not codes.SQUARED_ERROR <= cost <= codes.PERCEPTRON:
        raise UsageError(f"output_delta needs a cost code from SQUARED_ERROR (0) to PERCEPTRON (5), got {cost}")
    if cost < codes.BINARY_CROSS_ENTROPY:
        _check_derivative("output_delta", activation)
    launch(kernels["output_delta"], _squares(*shape), SQUARE, a, y, activation, cost, delta)


def hidden_delta(delta_next: Any, W_next: Any, a: Any, activation: int, delta: Any) -> None:
    """delta[i, k] = f'(z[i, k]) sum_j W_next[k, j] delta_next[i, j], with f' taken from a

    delta_next   f4|f8 (n_batch, n_out)   in    delta of the layer after this one
    W_next       f4|f8 (n_in, n_out)      in    weights from this layer to the one after, not yet updated
    a            f4|f8 (n_batch, n_in)    in    activation of this layer
    delta        f4|f8 (n_batch, n_in)    out   no part of the other arrays
    """
    n_batch, n_out, n_in = *_shape(delta_next, "delta_next", 2), _shape(W_next, "W_next", 2)[0]
    wanted = {"delta_next": (n_batch, n_out), "W_next": (n_in, n_out), "a": (n_batch, n_in), "delta": (n_batch, n_in)}
    kernels, (delta_next, W_next, a, delta) = _ready("hidden_delta", wanted, delta_next, W_next, a, delta)
    _check_derivative("hidden_delta", activation)
    launch(kernels["hidden_delta"], _squares(n_batch, n_in), SQUARE, delta_next, W_next, a, activation, delta)


def gradient(a: Any, delta: Any, dW: Any, db: Any) -> None:
    """dW[k, j] = sum_i a[i, k] delta[i, j], db[j] = sum_i delta[i, j]

    a       f4|f8 (n_batch, n_in)    in    activation that goes into the layer
    delta   f4|f8 (n_batch, n_out)   in    delta of the layer
    dW      f4|f8 (n_in, n_out)      out   sums over the batch, not means
    db      f4|f8 (n_out,)           out
    """
    n_batch, n_in, n_out = *_shape(a, "a", 2), _shape(delta, "delta", 2)[1]
    wanted = {"a": (n_batch, n_in), "delta": (n_batch, n_out), "dW": (n_in, n_out), "db": (n_out,)}
    kernels, (a, delta, dW, db) = _ready("gradient", wanted, a, delta, dW, db)
    launch(kernels["gradient"], _squares(n_in, n_out), SQUARE, a, delta, dW, db)


def update(W: Any, b: Any, dW: Any, db: Any, eta: float, decay: float, n_samples: float) -> None:
    """W -= eta (dW / n_samples + decay W), b -= eta db / n_samples

    W    f4|f8 (n_in, n_out)   in, out
    b    f4|f8 (n_out,)        in, out   never decayed
    dW   f4|f8 (n_in, n_out)   in
    db   f4|f8 (n_out,)        in

    One step of gradient descent on the mean cost of the samples plus decay/2 * sum of W^2.
    """
    n_in, n_out = _shape(W, "W", 2)
    wanted = {"W": (n_in, n_out), "b": (n_out,), "dW": (n_in, n_out), "db": (n_out,)}
    kernels, (W, b, dW, db) = _ready("update", wanted, W, b, dW, db)
    real = np.dtype(W.dtype).type
    rates = real(eta), real(decay), real(n_samples)
    launch(kernels["update"], _squares(n_in, n_out), SQUARE, W, b, dW, db, *rates)


def _squares(n_rows: int, n_columns: int) -> tuple[int, int]:
    """Blocks for each number of a matrix to have a thread; x are columns."""
    return max(-(-n_columns // SIDE), 1), max(-(-n_rows // SIDE), 1)


def _shape(array: Any, name: str, n_dimensions: int) -> tuple[int, ...]:
    shape = tuple(getattr(array, "shape", ()))
    if len(shape) != n_dimensions:
        raise UsageError(f"{name} must be an array of {n_dimensions} dimensions on the GPU, got shape {shape}")
    return shape


def _check_derivative(stage: str, activation: int) -> None:
    if activation not in (codes.IDENTITY, codes.SIGMOID, codes.TANH, codes.RELU, codes.LEAKY_RELU):
        raise UsageError(f"{stage} needs an activation other than step and softmax, got code {activation}")


def _ready(stage: str, shapes: Mapping[str, tuple[int, ...]], *arrays: Any) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """The kernels for the type of these arrays, and the arrays as Numba knows them."""
    for (name, shape), array in zip(shapes.items(), arrays, strict=True):
        if not hasattr(array, "__cuda_ndarray__" if SIMULATED else "__cuda_array_interface__"):
            raise UsageError(
                f"{stage} takes arrays on the GPU, got {type(array).__name__} for {name}; use cuda.to_device"
            )
        if tuple(array.shape) != shape:
            raise UsageError(f"{stage} needs {name} of shape {shape}, got {tuple(array.shape)}")
    known = arrays if SIMULATED else tuple(cuda.as_cuda_array(array) for array in arrays)
    kinds = sorted({str(array.dtype) for array in known})
    if kinds not in (["float32"], ["float64"]):
        raise UsageError(f"{stage} takes arrays of float32 or of float64, all alike, got {' and '.join(kinds)}")
    return _kernels(getattr(types, kinds[0])), known


@device
def _product(A, A_turned, B, B_turned, i, j, n, start, left, right):
    """start + sum_k A[i, k] B[k, j] for k < n, in ascending k; a turned matrix is read along its columns

    left, right   f4|f8 (SIDE, SIDE)   scratch, in shared memory
    """
    row, column = cuda.threadIdx.y, cuda.threadIdx.x
    n_i, n_j = A.shape[1] if A_turned else A.shape[0], B.shape[0] if B_turned else B.shape[1]
    total = start
    for first in range(0, n, SIDE):
        k = first + column
        left[row, column] = 0
        if i < n_i and k < n:
            left[row, column] = A[k, i] if A_turned else A[i, k]
        k = first + row
        right[row, column] = 0
        if j < n_j and k < n:
            right[row, column] = B[j, k] if B_turned else B[k, j]
        cuda.syncthreads()
        for k in range(SIDE):
            total += left[row, k] * right[k, column]
        cuda.syncthreads()
    return total


@cache
def _kernels(real: Any) -> dict[str, Any]:
    """The stages' kernels for arrays of one type of numbers."""

    def forward(x, W, b, activation, z, a):
        left = cuda.shared.array(SQUARE, real)
        right = cuda.shared.array(SQUARE, real)
        j, i = cuda.grid(2)
        inside = i < z.shape[0] and j < z.shape[1]
        total = _product(x, False, W, False, i, j, W.shape[0], b[j] if inside else real(0), left, right)
        if inside:
            z[i, j] = total
            if activation != codes.SOFTMAX:
                a[i, j] = activate(total, activation)

    def softmax(z, a):
        i = cuda.grid(1)
        if i < z.shape[0]:
            top = z[i, 0]
            for j in range(1, z.shape[1]):
                top = max(top, z[i, j])
            total = real(0)
            for j in range(z.shape[1]):
                a[i, j] = math.exp(z[i, j] - top)
                total += a[i, j]
            for j in range(z.shape[1]):
                a[i, j] /= total

    def output_delta(a, y, activation, cost, delta):
        j, i = cuda.grid(2)
        if i < a.shape[0] and j < a.shape[1]:
            error = a[i, j] - y[i, j]
            if cost == codes.MEAN_SQUARED_ERROR:
                error += error
            if cost < codes.BINARY_CROSS_ENTROPY:
                error *= activate_prime(a[i, j], activation)
            delta[i, j] = error

    def hidden_delta(delta_next, W_next, a, activation, delta):
        left = cuda.shared.array(SQUARE, real)
        right = cuda.shared.array(SQUARE, real)
        k, i = cuda.grid(2)
        total = _product(delta_next, False, W_next, True, i, k, W_next.shape[1], real(0), left, right)
        if i < a.shape[0] and k < a.shape[1]:
            delta[i, k] = total * activate_prime(a[i, k], activation)

    def gradient(a, delta, dW, db):
        left = cuda.shared.array(SQUARE, real)
        right = cuda.shared.array(SQUARE, real)
        j, k = cuda.grid(2)
        total = _product(a, True, delta, False, k, j, a.shape[0], real(0), left, right)
        if k < dW.shape[0] and j < dW.shape[1]:
            dW[k, j] = total
        if k == 0 and j < db.shape[0]:
            total = real(0)
            for i in range(delta.shape[0]):
                total += delta[i, j]
            db[j] = total

    def update(W, b, dW, db, eta, decay, n_samples):
        j, k = cuda.grid(2)
        if k < W.shape[0] and j < W.shape[1]:
            W[k, j] -= eta * (dW[k, j] / n_samples + decay * W[k, j])
        if k == 0 and j < b.shape[0]:
            b[j] -= eta * (db[j] / n_samples)

    stages = (forward, softmax, output_delta, hidden_delta, gradient, update)
    return {stage.__name__: compiled(stage, LINE, 1) for stage in stages}
