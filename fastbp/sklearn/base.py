"""What classifier and regressor share: parameters and their limits, the way from arrays to a fit, fitted attributes.

The parameters that scikit-learn's MLP has mean the same here, have the same defaults and the same limits; the others
change nothing by default.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, check_is_fitted, validate_data

from ..kernels import OPTIMIZER, Settings
from .callbacks import CallbackSupportMixin, Tasks
from .engines import Shape, Targets, samples
from .lbfgs import fit_lbfgs
from .outputs import network_outputs
from .problem import Problem, Validation, set_aside
from .stochastic import fit_stochastic

__all__ = ["Answers", "BaseMLP"]

Array = NDArray[Any]

HIDDEN = ("identity", "logistic", "tanh", "relu", "leaky_relu")
STOCHASTIC = ("sgd", "adam", "adamw", "rmsprop")
FLOATS = (np.float64, np.float32)
LIKE_LAYERS = "array-like"


class Answers(NamedTuple):
    """y, checked: what users call the answers, and what the network is to give."""

    labels: Any
    targets: Targets
    stratify: Array | None  # how early stopping splits; None: at random


class BaseMLP(CallbackSupportMixin, BaseEstimator):
    """A multilayer perceptron in scikit-learn's shape; see `MLPClassifier` and `MLPRegressor`."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": [LIKE_LAYERS, Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(HIDDEN)), LIKE_LAYERS],
        "solver": [StrOptions({*STOCHASTIC, "lbfgs"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), LIKE_LAYERS],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "rho": [Interval(Real, 0, 1, closed="left")],
        "dtype": [StrOptions({"float32", "float64"}), None],
        "threads": [Interval(Integral, 1, None, closed="left")],
    }

    coefs_: list[Array]
    intercepts_: list[Array]
    loss_curve_: list[float]
    best_loss_: float | None
    validation_scores_: list[float] | None
    validation_loss_curve_: list[float] | None
    best_validation_score_: float | None

    def _keep(self, values: dict[str, Any]) -> None:
        """Store every parameter under its name, as scikit-learn wants it: unchecked and unchanged."""
        for name in self._get_param_names():
            setattr(self, name, values[name])

    # --- for the subclasses -------------------------------------------------------------------------------------------

    _numeric_targets = False

    def _answers(self, y: Any, incremental: bool) -> Answers:
        raise NotImplementedError

    def _targets_of(self, y: Any) -> tuple[Any, Array]:
        """Labels and targets (n, n_outputs) of a validation set."""
        raise NotImplementedError

    def _output_activation(self) -> str:
        raise NotImplementedError

    def _score_outputs(self, labels: Any, outputs: Array, weights: Array | None) -> float:
        raise NotImplementedError

    def _class_weights(self, labels: Any) -> Array | None:
        """(n,) or None."""
        return None

    # --- parameters ---------------------------------------------------------------------------------------------------

    def _hidden_sizes(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return [int(size) for size in sizes]

    def _hidden_activations(self, n_hidden: int) -> list[str]:
        if isinstance(self.activation, str):
            return [self.activation] * n_hidden
        names = list(self.activation)
        if len(names) != n_hidden or not set(names) <= set(HIDDEN):
            raise ValueError(
                f"activation must be one of {', '.join(HIDDEN)}, or a list of {n_hidden} of them, one per hidden "
                f"layer; got {names}."
            )
        return names

    def _dropped_shares(self, n_hidden: int) -> tuple[float, ...]:
        each = list(self.dropout) if hasattr(self.dropout, "__iter__") else [self.dropout] * n_hidden
        if len(each) != n_hidden or not all(isinstance(share, Real) and 0 <= float(share) < 1 for share in each):
            raise ValueError(
                f"dropout must be a number in [0, 1), or a list of {n_hidden}, one per hidden layer, got {each}."
            )
        return tuple(float(share) for share in each) if any(each) else ()

    def _settings(self, batch_size: int) -> Settings:
        """The update rule. alpha is divided by the number of samples of a batch, except for adamw, where it is lambda
        of Loshchilov and Hutter."""
        rule = self.solver
        if rule == "sgd" and self.momentum > 0:
            rule = "nesterov" if self.nesterovs_momentum else "momentum"
        coupled = rule != "adamw"
        dropout = self._dropped_shares(self.n_layers_ - 2)
        return Settings(
            optimizer=OPTIMIZER["sgd" if rule == "lbfgs" else rule],
            batch_size=batch_size,
            momentum=float(self.momentum),
            beta_1=float(self.beta_1),
            beta_2=float(self.beta_2),
            epsilon=float(self.epsilon),
            decay=float(self.alpha),
            rho=float(self.rho),
            decay_per_batch=coupled,
            penalty_in_cost=coupled,
            dropout=dropout,
            seed=int(self._random_state.randint(2**31 - 1)) if dropout else 0,
            clip_norm=float(self.clip_norm or 0.0),
        )

    def _check_combination(self, incremental: bool, own_validation: bool) -> None:
        """ValueError where parameters contradict each other."""
        if self.solver == "lbfgs":
            given = [name for name, used in (("dropout", np.any(self.dropout)), ("clip_norm", self.clip_norm)) if used]
            given += ["X_val"] if own_validation else []
            if given:
                raise ValueError(
                    f"solver='lbfgs' cannot use {', '.join(given)}; choose one of {', '.join(STOCHASTIC)}."
                )
        if incremental and isinstance(getattr(self, "class_weight", None), str):
            raise ValueError(
                "class_weight='balanced' is not supported for partial_fit, which sees a part of the samples; give a "
                "dict, such as that of sklearn.utils.class_weight.compute_class_weight for all of them."
            )
        if incremental and self.early_stopping and not own_validation:
            raise ValueError(
                "partial_fit does not support early_stopping=True without a validation set; give it X_val and y_val."
            )

    # --- fit ----------------------------------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None) -> Any:
        """Train on X and y.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            float32 is trained in float32, everything else in float64; sparse matrices stay sparse
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            labels for a classifier (several columns of 0 and 1: several labels per sample), values for a regressor
        sample_weight : array-like of shape (n_samples,), optional
            how much each sample counts, at least 0
        X_val, y_val : optional
            samples that are only watched, in the form of X and y: after each epoch `validation_loss_curve_` and
            `validation_scores_` grow. With early_stopping=True they replace the part of X that would be set aside.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            arrays with NaN or infinity, of different lengths, or with unknown labels; parameters outside of their
            limits; weights that became infinite
        """
        return self._fit(X, y, sample_weight, X_val, y_val, incremental=False)

    def _fit(self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any, incremental: bool) -> Any:
        hidden = self._hidden_sizes()
        self._check_combination(incremental, X_val is not None)
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            y_numeric=self._numeric_targets,
            dtype=FLOATS,
            reset=first,
        )
        answers = self._answers(one_column(y), incremental)
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, X)
        of_class = self._class_weights(answers.labels)
        if of_class is not None:
            weights = of_class if weights is None else weights * of_class
        self.n_outputs_ = answers.targets.table.shape[1]
        self._random_state = check_random_state(self.random_state)
        if first:
            self._initialize([X.shape[1], *hidden, self.n_outputs_], self.dtype or X.dtype)
        shape = self._shape()
        precision = self.dtype or ("float64" if self.solver == "lbfgs" else self.coefs_[0].dtype)
        theta = shape.theta_of(self.coefs_, self.intercepts_, precision)

        held = self._validation(X_val, y_val)
        n_tasks = 1 if incremental else self.max_iter + (self.solver == "lbfgs")
        tasks = Tasks(self, "partial_fit" if incremental else "fit", n_tasks, X, y, sample_weight)
        problem = Problem(samples(X, precision), answers.labels, answers.targets, weights, shape, held)
        if self.solver == "lbfgs":
            theta = fit_lbfgs(self, problem, theta, tasks)
        else:
            self._open_curves(first, watched=self.early_stopping or held is not None)
            if self.early_stopping and held is None:
                problem = set_aside(problem, self.validation_fraction, self._random_state, answers.stratify)
            theta = fit_stochastic(self, problem, theta, incremental, tasks)
        self.coefs_, self.intercepts_ = shape.arrays_of(theta)
        if not np.isfinite(theta).all():
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed, or learning_rate_init may be too large."
            )
        tasks.close()
        return self

    def _initialize(self, sizes: list[int], dtype: Any) -> None:
        """Random weights and biases, uniform in +-sqrt(6 / (n_in + n_out)), 2 instead of 6 next to logistic units

        (Glorot, Bengio 2010), drawn in scikit-learn's order.
        """
        self.n_layers_ = len(sizes)
        self.n_iter_ = self.t_ = 0
        self.out_activation_ = self._output_activation()
        names = self._hidden_activations(len(sizes) - 2)
        names = names + (names[-1:] or [self.activation])  # the output layer is drawn like the one before it
        self.coefs_, self.intercepts_ = [], []
        for n_in, n_out, name in zip(sizes, sizes[1:], names, strict=False):
            bound = np.sqrt((2.0 if name == "logistic" else 6.0) / (n_in + n_out))
            W = self._random_state.uniform(-bound, bound, (n_in, n_out))
            b = self._random_state.uniform(-bound, bound, n_out)
            self.coefs_.append(W.astype(dtype, copy=False))
            self.intercepts_.append(b.astype(dtype, copy=False))
        self._best_coefs = [W.copy() for W in self.coefs_]
        self._best_intercepts = [b.copy() for b in self.intercepts_]
        for stale in ("_optimizer", "stopped_", "loss_curve_"):
            self.__dict__.pop(stale, None)

    def _open_curves(self, first: bool, watched: bool) -> None:
        """Empty curves for a first fit, and those that an earlier fit with other parameters did not need."""
        if first or not hasattr(self, "loss_curve_"):
            self.loss_curve_ = []
            self._no_improvement_count = 0
            self.best_loss_ = self.validation_scores_ = self.validation_loss_curve_ = None
            self.best_validation_score_ = None
        if self.best_loss_ is None and not self.early_stopping:
            self.best_loss_ = np.inf
        if self.validation_scores_ is None and watched:
            self.validation_scores_, self.validation_loss_curve_ = [], []
            self.best_validation_score_ = -np.inf

    def _shape(self) -> Shape:
        sizes = [self.coefs_[0].shape[0], *(W.shape[1] for W in self.coefs_)]
        if self.n_outputs_ != sizes[-1]:
            raise ValueError(f"y has {self.n_outputs_} outputs, but the network was fitted with {sizes[-1]}.")
        return Shape(tuple(sizes), tuple(self._names()))

    def _names(self) -> list[str]:
        """Activations of all layers after the input, in scikit-learn's words."""
        return [*self._hidden_activations(self.n_layers_ - 2), self.out_activation_]

    def _validation(self, X: Any, y: Any) -> Validation | None:
        """The user's validation set, checked."""
        if (X is None) != (y is None):
            raise ValueError("X_val and y_val belong together; give both or none.")
        if X is None:
            return None
        X = validate_data(self, X, accept_sparse=["csr", "csc"], dtype=FLOATS, reset=False)
        check_consistent_length(X, y)
        labels, targets = self._targets_of(y)
        if targets.shape[1] != self.n_outputs_:
            raise ValueError(f"y_val has {targets.shape[1]} outputs, but y has {self.n_outputs_}.")
        return Validation(X, labels, targets, None)

    # --- use ----------------------------------------------------------------------------------------------------------

    def _outputs(self, X: Any) -> Array:
        """Activations of the output layer, (n_samples, n_outputs)."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        return network_outputs(X, self.coefs_, self.intercepts_, self._names())

    def _check_solver(self) -> bool:
        """Whether there is a `partial_fit`."""
        if self.solver not in STOCHASTIC:
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def one_column(y: Any) -> Any:
    """(n, 1) becomes (n,), with a warning, as everywhere in scikit-learn."""
    if y.ndim == 2 and y.shape[1] == 1 and not issparse(y):
        return column_or_1d(y, warn=True)
    return y
