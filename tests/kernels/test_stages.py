"""Each stage, NumPy and compiled, against hand numbers and plain loops; the compiled ones against the NumPy ones."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from numba import njit

from fastbp.kernels import reference, stages
from fastbp.kernels.codes import (
    ACTIVATION,
    BINARY_CROSS_ENTROPY,
    COST,
    CROSS_ENTROPY,
    EXPONENTIAL,
    IDENTITY,
    LEAKY_RELU,
    MEAN_SQUARED_ERROR,
    POISSON,
    RELU,
    SIGMOID,
    SOFTMAX,
    SQUARED_ERROR,
    STEP,
    TANH,
)

both = pytest.mark.parametrize("module", [reference, stages], ids=["reference", "stages"])
precision = pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-12)])
widths = pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (3, 17), (17, 3), (17, 17), (1, 17), (18, 1), (6, 5)])
batches = pytest.mark.parametrize("n_batch", [1, 7, 257])
DIFFERENTIABLE = (IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU)


class Arrays:
    """Random arrays of all the shapes that the stages of one layer need."""

    def __init__(self, n_batch, n_in, n_out, dtype="float64", seed=0):
        rng = np.random.default_rng(seed)

        def normal(*shape):
            return rng.normal(size=shape).astype(dtype)

        self.x, self.W, self.b = normal(n_batch, n_in), normal(n_in, n_out), normal(n_out)
        self.z, self.a, self.y = normal(n_batch, n_out), normal(n_batch, n_out), normal(n_batch, n_out)
        self.delta, self.delta_in = normal(n_batch, n_out), normal(n_batch, n_in)
        self.dW, self.db = normal(n_in, n_out), normal(n_out)
        self.velocity_W, self.velocity_b = normal(n_in, n_out), normal(n_out)
        self.square_W, self.square_b = normal(n_in, n_out) ** 2, normal(n_out) ** 2

    def results(self):
        return {name: array.copy() for name, array in vars(self).items()}


def assert_same(one, other, tolerance):
    for name, array in one.items():
        np.testing.assert_allclose(other[name], array, rtol=tolerance, atol=10 * tolerance, err_msg=name)


# Every stage as a call on `Arrays`, for each value of its integer codes
CALLS = {f"forward {name}": lambda m, s, c=c: m.forward(s.x, s.W, s.b, c, s.z, s.a) for name, c in ACTIVATION.items()}
CALLS |= {
    f"output_delta {name} {squared}": lambda m, s, c=c, k=k: m.output_delta(s.a, s.y, c, k, s.delta)
    for name, c in ACTIVATION.items()
    if c in DIFFERENTIABLE
    for squared, k in (("squared_error", SQUARED_ERROR), ("mean_squared_error", MEAN_SQUARED_ERROR))
}
CALLS |= {
    "output_delta binary": lambda m, s: m.output_delta(s.a, s.y, SIGMOID, BINARY_CROSS_ENTROPY, s.delta),
    "output_delta cross": lambda m, s: m.output_delta(s.a, s.y, SOFTMAX, CROSS_ENTROPY, s.delta),
    "output_delta poisson": lambda m, s: m.output_delta(s.a, s.y, EXPONENTIAL, POISSON, s.delta),
}
CALLS |= {
    f"hidden_delta {name}": lambda m, s, c=c: m.hidden_delta(s.delta, s.W, s.x, c, s.delta_in)
    for name, c in ACTIVATION.items()
    if c in DIFFERENTIABLE
}
CALLS |= {
    "gradient": lambda m, s: m.gradient(s.x, s.delta, s.dW, s.db),
    "update": lambda m, s: m.update(s.W, s.b, s.dW, s.db, 0.3, 0.1, 7),
    "momentum_update": lambda m, s: m.momentum_update(
        s.W, s.b, s.dW, s.db, s.velocity_W, s.velocity_b, 0.3, 0.1, 7, 0.9
    ),
    "nesterov_update": lambda m, s: m.nesterov_update(
        s.W, s.b, s.dW, s.db, s.velocity_W, s.velocity_b, 0.3, 0.1, 7, 0.9
    ),
    "rmsprop_update": lambda m, s: m.rmsprop_update(
        s.W, s.b, s.dW, s.db, s.square_W, s.square_b, 0.3, 0.1, 7, 0.9, 1e-8
    ),
    "adam_update": lambda m, s: m.adam_update(
        s.W, s.b, s.dW, s.db, s.velocity_W, s.velocity_b, s.square_W, s.square_b, 0.3, 0.1, 7, 0.9, 0.999, 1e-8, 3
    ),
}


@precision
@widths
@batches
def test_compiled_stages_equal_the_reference(n_batch, n_in, n_out, dtype, tolerance):
    for name, call in CALLS.items():
        expected, got = Arrays(n_batch, n_in, n_out, dtype), Arrays(n_batch, n_in, n_out, dtype)
        before = got.results()
        call(reference, expected)
        call(stages, got)
        assert_same(expected.results(), got.results(), tolerance)
        assert any(not np.array_equal(before[key], array) for key, array in got.results().items()), name


@precision
@widths
@batches
def test_compiled_loss_equals_the_reference(n_batch, n_in, n_out, dtype, tolerance):
    s = Arrays(n_batch, n_in, n_out, dtype)
    for cost in COST.values():
        expected = reference.loss(s.z, s.a, s.y, cost)
        got = stages.loss(s.z, s.a, s.y, cost)
        assert type(got) is float
        assert got == pytest.approx(expected, rel=tolerance, abs=tolerance * s.z.size)


@both
def test_sums_equal_plain_loops(module):
    s = Arrays(5, 6, 3)
    x, W, b, delta = (array.tolist() for array in (s.x, s.W, s.b, s.delta))
    module.forward(s.x, s.W, s.b, IDENTITY, s.z, s.a)
    module.hidden_delta(s.delta, s.W, s.x, IDENTITY, s.delta_in)
    module.gradient(s.x, s.delta, s.dW, s.db)
    z = [[b[j] + math.fsum(x[i][k] * W[k][j] for k in range(6)) for j in range(3)] for i in range(5)]
    back = [[math.fsum(W[k][j] * delta[i][j] for j in range(3)) for k in range(6)] for i in range(5)]
    dW = [[math.fsum(x[i][k] * delta[i][j] for i in range(5)) for j in range(3)] for k in range(6)]
    np.testing.assert_allclose(s.z, z, rtol=1e-12)
    np.testing.assert_array_equal(s.a, s.z)
    np.testing.assert_allclose(s.delta_in, back, rtol=1e-12)
    np.testing.assert_allclose(s.dW, dW, rtol=1e-12)
    np.testing.assert_allclose(s.db, [math.fsum(column) for column in zip(*delta, strict=True)], rtol=1e-12)


@both
@pytest.mark.parametrize(
    ("activation", "z", "expected"),
    [
        (STEP, [-2.0, 0.0, 3.0], [0.0, 0.0, 1.0]),
        (IDENTITY, [-2.0, 0.0, 3.0], [-2.0, 0.0, 3.0]),
        (SIGMOID, [-math.log(3), 0.0, math.log(3)], [0.25, 0.5, 0.75]),
        (TANH, [-math.log(2), 0.0, math.log(3)], [-0.6, 0.0, 0.8]),
        (RELU, [-2.0, 0.0, 3.0], [0.0, 0.0, 3.0]),
        (LEAKY_RELU, [-2.0, 0.0, 3.0], [-0.02, 0.0, 3.0]),
        (EXPONENTIAL, [-math.log(2), 0.0, math.log(3)], [0.5, 1.0, 3.0]),
        (SOFTMAX, [0.0, math.log(2), math.log(5)], [0.125, 0.25, 0.625]),
    ],
)
def test_activations_at_points_known_by_hand(module, activation, z, expected):
    a = np.empty((1, 3))
    module.forward(np.ones((1, 1)), np.array([z]), np.zeros(3), activation, a, a)
    assert a[0] == pytest.approx(expected, abs=1e-15)


@both
@pytest.mark.parametrize(
    ("activation", "a", "slope"),
    [
        (IDENTITY, [-2.0, 0.0, 3.0], [1.0, 1.0, 1.0]),
        (SIGMOID, [0.25, 0.5, 1.0], [0.1875, 0.25, 0.0]),
        (TANH, [-0.6, 0.0, 0.8], [0.64, 1.0, 0.36]),
        (RELU, [0.0, 0.0, 3.0], [0.0, 0.0, 1.0]),
        (LEAKY_RELU, [-0.02, 0.0, 3.0], [0.01, 1.0, 1.0]),
    ],
)
def test_slopes_at_points_known_by_hand(module, activation, a, slope):
    delta = np.empty((1, 3))
    module.hidden_delta(np.array([[2.0]]), np.ones((3, 1)), np.array([a]), activation, delta)
    assert delta[0] / 2 == pytest.approx(slope, abs=1e-15)
    module.output_delta(np.array([a]), np.array([a]) - 1, activation, SQUARED_ERROR, delta)
    assert delta[0] == pytest.approx(slope, abs=1e-15)
    module.output_delta(np.array([a]), np.array([a]) - 1, activation, MEAN_SQUARED_ERROR, delta)
    assert delta[0] / 2 == pytest.approx(slope, abs=1e-15)


@both
@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (SQUARED_ERROR, (0.25**2 + 0.25**2) / 2 + (0.75**2 + 0.5**2) / 2),
        (MEAN_SQUARED_ERROR, 0.25**2 + 0.25**2 + 0.75**2 + 0.5**2),
        (BINARY_CROSS_ENTROPY, -math.log(0.75) - math.log(0.75) - math.log(0.25) - math.log(0.5)),
    ],
)
def test_costs_known_by_hand(module, cost, expected):
    a = np.array([[0.25, 0.75], [0.25, 0.5]])
    y = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert module.loss(np.log(a / (1 - a)), a, y, cost) == pytest.approx(expected, rel=1e-14)


@both
def test_cross_entropy_known_by_hand(module):
    a = np.array([[0.125, 0.25, 0.625], [0.5, 0.25, 0.25]])
    y = np.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    expected = -math.log(0.25) - 0.5 * math.log(0.5) - 0.5 * math.log(0.25)
    assert module.loss(np.log(a) + 3.0, a, y, CROSS_ENTROPY) == pytest.approx(expected, rel=1e-14)


@both
@precision
def test_saturated_units_stay_finite(module, dtype, tolerance):
    z = np.array([[-1e4, 1e4], [1e4, -1e4]], dtype)
    weights, zero = z[:1].copy(), np.zeros(2, dtype)
    one, a = np.ones((1, 1), dtype), np.empty((1, 2), dtype)
    for activation, expected in ((SIGMOID, [0, 1]), (TANH, [-1, 1]), (SOFTMAX, [0, 1]), (RELU, [0, 1e4])):
        module.forward(one, weights, zero, activation, a, a)
        assert a[0].tolist() == expected
    a = np.array([[0, 1], [1, 0]], dtype)
    right, wrong, soft = a, 1 - a, np.full_like(a, 0.5)
    for y, binary, cross, squared in ((right, 0, 0, 0), (wrong, 4e4, 4e4, 2), (soft, 2e4, 2e4, 0.5)):
        assert module.loss(z, a, y, BINARY_CROSS_ENTROPY) == pytest.approx(binary, rel=tolerance)
        assert module.loss(z, a, y, CROSS_ENTROPY) == pytest.approx(cross, rel=tolerance)
        assert module.loss(z, a, y, SQUARED_ERROR) == pytest.approx(squared, rel=tolerance)


@both
@pytest.mark.parametrize("activation", [c for c in ACTIVATION.values() if c != STEP])
def test_nan_is_never_swallowed(module, activation):
    s = Arrays(6, 5, 4)
    s.x[2, 3] = np.nan
    module.forward(s.x, s.W, s.b, activation, s.z, s.a)
    assert np.isnan(s.a[2]).all()
    assert not np.isnan(np.delete(s.a, 2, axis=0)).any()

    s = Arrays(6, 5, 4)
    s.x[:] = 0  # even where the input is 0
    s.W[4, 1] = np.nan
    module.forward(s.x, s.W, s.b, activation, s.z, s.a)
    assert np.isnan(s.a[:, 1]).all()


@both
def test_nan_goes_on_through_deltas_gradients_updates_and_costs(module):
    for activation in DIFFERENTIABLE:
        s = Arrays(6, 5, 4)
        s.delta[2, 3] = np.nan
        module.hidden_delta(s.delta, s.W, s.x, activation, s.delta_in)
        assert np.isnan(s.delta_in[2]).all()
        assert not np.isnan(np.delete(s.delta_in, 2, axis=0)).any()
        s.a[1, 1] = np.nan
        module.output_delta(s.a, s.y, activation, SQUARED_ERROR, s.delta)
        assert np.argwhere(np.isnan(s.delta)).tolist() == [[1, 1]]
    module.gradient(s.x, s.delta, s.dW, s.db)
    assert np.isnan(s.dW[:, 1]).all()
    assert np.isnan(s.db[1])
    module.update(s.W, s.b, s.dW, s.db, 0.1, 0.0, 6)
    assert np.isnan(s.W[:, 1]).all()
    assert np.isnan(s.b[1])
    for cost in COST.values():
        z = np.where(np.arange(4) == 1, np.nan, s.z)
        assert math.isnan(module.loss(z, z, s.y, cost))


@precision
def test_activations_do_not_depend_on_the_batch(dtype, tolerance):
    s = Arrays(257, 17, 16, dtype)
    stages.forward(s.x, s.W, s.b, SOFTMAX, s.z, s.a)
    for start, end in ((0, 1), (1, 8), (8, 72), (72, 257)):
        part = np.empty_like(s.a[start:end])
        stages.forward(s.x[start:end], s.W, s.b, SOFTMAX, part, part)
        assert part.tobytes() == s.a[start:end].tobytes()


@both
@precision
def test_net_input_and_activation_may_share_one_array(module, dtype, tolerance):
    for activation in ACTIVATION.values():
        s = Arrays(7, 6, 5, dtype)
        shared = np.empty_like(s.a)
        module.forward(s.x, s.W, s.b, activation, s.z, s.a)
        module.forward(s.x, s.W, s.b, activation, shared, shared)
        assert shared.tobytes() == s.a.tobytes()


def test_arrays_need_not_be_contiguous():
    s, strided = Arrays(7, 6, 5), Arrays(7, 6, 5)
    for name, array in vars(strided).items():
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]))
        wide[..., ::2] = array
        setattr(strided, name, wide[..., ::2])
    for name in ("forward softmax", "hidden_delta tanh", "gradient"):
        CALLS[name](stages, s)
        CALLS[name](stages, strided)
        assert_same(s.results(), strided.results(), 1e-12)


ARGUMENTS = {
    "forward": lambda s: [s.x, s.W, s.b, SIGMOID, s.z, s.a],
    "output_delta": lambda s: [s.a, s.y, SIGMOID, SQUARED_ERROR, s.delta],
    "hidden_delta": lambda s: [s.delta, s.W, s.x, SIGMOID, s.delta_in],
    "gradient": lambda s: [s.x, s.delta, s.dW, s.db],
    "update": lambda s: [s.W, s.b, s.dW, s.db, 0.3, 0.1, 7],
    "momentum_update": lambda s: [s.W, s.b, s.dW, s.db, s.velocity_W, s.velocity_b, 0.3, 0.1, 7, 0.9],
    "nesterov_update": lambda s: [s.W, s.b, s.dW, s.db, s.velocity_W, s.velocity_b, 0.3, 0.1, 7, 0.9],
    "rmsprop_update": lambda s: [s.W, s.b, s.dW, s.db, s.square_W, s.square_b, 0.3, 0.1, 7, 0.9, 1e-8],
    "adam_update": lambda s: [
        *(s.W, s.b, s.dW, s.db, s.velocity_W, s.velocity_b, s.square_W, s.square_b),
        *(0.3, 0.1, 7, 0.9, 0.999, 1e-8, 3),
    ],
    "loss": lambda s: [s.z, s.a, s.y, CROSS_ENTROPY],
}
WRONG = [
    (name, position, axis, change)
    for name, arguments in ARGUMENTS.items()
    for position, value in enumerate(arguments(Arrays(4, 3, 2)))
    if isinstance(value, np.ndarray)
    for axis in range(value.ndim)
    for change in (-1, 1)
]


@pytest.mark.parametrize(("name", "position", "axis", "change"), WRONG)
def test_a_wrong_shape_is_refused_and_changes_nothing(name, position, axis, change):
    arguments = ARGUMENTS[name](Arrays(4, 3, 2))
    shape = list(arguments[position].shape)
    shape[axis] += change
    arguments[position] = np.zeros(shape)
    before = [np.copy(value) for value in arguments]
    with pytest.raises(ValueError, match=f"^{name} needs "):
        getattr(stages, name)(*arguments)
    for value, old in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(value, old)


@pytest.mark.parametrize("code", [-1, 8])
def test_codes_that_do_not_exist_are_refused(code):
    s = Arrays(4, 3, 2)
    with pytest.raises(ValueError, match="activation"):
        stages.forward(s.x, s.W, s.b, code, s.z, s.a)
    with pytest.raises(ValueError, match="activation"):
        stages.hidden_delta(s.delta, s.W, s.x, code, s.delta_in)
    with pytest.raises(ValueError, match="cost"):
        stages.output_delta(s.a, s.y, SIGMOID, code, s.delta)
    with pytest.raises(ValueError, match="cost"):
        stages.loss(s.z, s.a, s.y, code)


@both
@pytest.mark.parametrize("activation", [STEP, SOFTMAX])
def test_activations_without_a_derivative_are_refused(module, activation):
    s = Arrays(4, 3, 2)
    with pytest.raises(ValueError, match="activation"):
        module.hidden_delta(s.delta, s.W, s.x, activation, s.delta_in)
    with pytest.raises(ValueError, match="activation"):
        module.output_delta(s.a, s.y, activation, SQUARED_ERROR, s.delta)


forward, output_delta, gradient, update, loss = (
    stages.forward,
    stages.output_delta,
    stages.gradient,
    stages.update,
    stages.loss,
)


@njit
def descend(x, y, W, b, z, a, delta, dW, db, n_steps):
    for _ in range(n_steps):
        forward(x, W, b, SOFTMAX, z, a)
        output_delta(a, y, SOFTMAX, CROSS_ENTROPY, delta)
        gradient(x, delta, dW, db)
        update(W, b, dW, db, 0.5, 0.01, x.shape[0])
    return loss(z, a, y, CROSS_ENTROPY)


def test_stages_work_inside_a_users_own_compiled_function():
    inside, outside = Arrays(7, 6, 5), Arrays(7, 6, 5)
    got = descend(*(inside.x, inside.y, inside.W, inside.b, inside.z, inside.a, inside.delta, inside.dW, inside.db), 3)
    for _ in range(3):
        CALLS["forward softmax"](stages, outside)
        CALLS["output_delta cross"](stages, outside)
        CALLS["gradient"](stages, outside)
        stages.update(outside.W, outside.b, outside.dW, outside.db, 0.5, 0.01, 7)
    assert got == stages.loss(outside.z, outside.a, outside.y, CROSS_ENTROPY)
    assert inside.W.tobytes() == outside.W.tobytes()


@njit
def forward_with_wrong_bias(x, W, b, z):
    forward(x, W, b[1:], SIGMOID, z, z)


def test_a_wrong_shape_inside_a_users_own_compiled_function_raises():
    s = Arrays(7, 6, 5)
    with pytest.raises(ValueError, match="forward needs"):
        forward_with_wrong_bias(s.x, s.W, s.b, s.z)


# Start, decay, and the gradient of each of five steps (summed over 4 samples): two weights and their bias
COLUMN = [
    (0.3, 0.01, (0.5, -0.25, 1.5, 1.0, -3.0)),
    (-0.7, 0.01, (-1.0, 2.0, 0.0, 1.0, 0.125)),
    (0.2, 0.0, (0.25, 0.5, -1.0, 3.0, 0.0)),
]


def after_five_steps(module, name, n_states, extra, counts_steps):
    """The two weights and the bias of COLUMN after five updates by a stage."""
    (first, second, bias), _, slopes = zip(*COLUMN, strict=True)
    W, b = np.array([[first], [second]]), np.array([bias])
    state = [np.zeros_like(array) for array in (W, b) * n_states]
    for step, (dw1, dw2, db) in enumerate(zip(*slopes, strict=True), start=1):
        rates = (*extra, step) if counts_steps else extra
        getattr(module, name)(W, b, np.array([[dw1], [dw2]]), np.array([db]), *state, 0.1, 0.01, 4, *rates)
    return [*W[:, 0].tolist(), *b.tolist()]


@both
def test_momentum_follows_its_recurrence(module):
    expected = []
    for w, decay, slopes in COLUMN:
        v = 0.0
        for slope in slopes:
            v = 0.9 * v - 0.1 * (slope / 4 + decay * w)
            w += v
        expected.append(w)
    got = after_five_steps(module, "momentum_update", 1, (0.9,), counts_steps=False)
    assert got == pytest.approx(expected, abs=1e-12, rel=0)


@both
def test_nesterov_follows_its_recurrence(module):
    """Sutskever's form, at the point that is stepped ahead: its gradient is taken where this one's weights are."""
    expected = []
    for w, decay, slopes in COLUMN:
        v, behind = 0.0, w  # behind = w - 0.9 v
        for slope in slopes:
            v = 0.9 * v - 0.1 * (slope / 4 + decay * (behind + 0.9 * v))
            behind += v
        expected.append(behind + 0.9 * v)
    got = after_five_steps(module, "nesterov_update", 1, (0.9,), counts_steps=False)
    assert got == pytest.approx(expected, abs=1e-12, rel=0)


@both
def test_rmsprop_follows_its_recurrence(module):
    expected = []
    for w, decay, slopes in COLUMN:
        u = 0.0
        for slope in slopes:
            g = slope / 4 + decay * w
            u = 0.95 * u + 0.05 * g * g
            w -= 0.1 * g / (math.sqrt(u) + 1e-3)
        expected.append(w)
    got = after_five_steps(module, "rmsprop_update", 1, (0.95, 1e-3), counts_steps=False)
    assert got == pytest.approx(expected, abs=1e-12, rel=0)


@both
def test_adam_follows_its_recurrence(module):
    expected = []
    for w, decay, slopes in COLUMN:
        m = u = 0.0
        for t, slope in enumerate(slopes, start=1):
            g = slope / 4 + decay * w
            m = 0.8 * m + 0.2 * g
            u = 0.95 * u + 0.05 * g * g
            w -= 0.1 * math.sqrt(1 - 0.95**t) / (1 - 0.8**t) * m / (math.sqrt(u) + 1e-3)
        expected.append(w)
    got = after_five_steps(module, "adam_update", 2, (0.8, 0.95, 1e-3), counts_steps=True)
    assert got == pytest.approx(expected, abs=1e-12, rel=0)


@pytest.mark.parametrize("name", ["forward", "output_delta", "hidden_delta", "gradient", "update", "loss"])
def test_the_example_in_the_docstring_runs(name):
    example = doctest.DocTestParser().get_doctest(getattr(stages, name).__doc__, {}, name, None, None)
    assert example.examples
    assert doctest.DocTestRunner(verbose=False).run(example).failed == 0


@both
def test_update_known_by_hand(module):
    W, b = np.array([[1.0, -2.0]]), np.array([0.5, 3.0])
    module.update(W, b, np.array([[8.0, -4.0]]), np.array([4.0, 0.0]), 0.5, 0.25, 4)
    assert W.tolist() == [[1.0 - 0.5 * (2.0 + 0.25), -2.0 - 0.5 * (-1.0 - 0.5)]]
    assert b.tolist() == [0.0, 3.0]
