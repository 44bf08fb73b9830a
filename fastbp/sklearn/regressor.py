"""Multilayer perceptron for values: squared error with identity outputs, or Poisson deviance with exponential ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils import check_array
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from .base import Answers, BaseMLP, one_column
from .engines import Targets

__all__ = ["MLPRegressor"]

Array = NDArray[Any]


class MLPRegressor(RegressorMixin, BaseMLP):
    """A multilayer perceptron that predicts one value or several; stands in for scikit-learn's `MLPRegressor`.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}
        half of the squared error; or half of the Poisson deviance, for counts and other y >= 0, with exp outputs

    The other parameters are those of `fastbp.sklearn.MLPClassifier`, without class_weight and label_smoothing.

    Attributes
    ----------
    Those of `MLPClassifier`, without classes_; `validation_scores_` are R^2, and `loss_` is the mean over several
    outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.sklearn import MLPRegressor
    >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
    >>> model = MLPRegressor(hidden_layer_sizes=16, solver="lbfgs", random_state=0).fit(X, X[:, 0] ** 2)
    >>> model.score(X, X[:, 0] ** 2) > 0.95
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }
    _numeric_targets = True

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float | Sequence[float] = 0.0,
        clip_norm: float | None = None,
        rho: float = 0.9,
        dtype: str | None = None,
        threads: int = 1,
    ) -> None:
        self._keep(locals())

    @available_if(lambda est: est._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None) -> Any:
        """One epoch over X and y, from where the last call left weights and optimiser; see `fit` for the arrays.

        With early_stopping=True and X_val, y_val the estimator notes the best score; after n_iter_no_change calls
        without a better one it takes back the best weights, and `stopped_` is True.
        """
        return self._fit(X, y, sample_weight, X_val, y_val, incremental=True)

    def predict(self, X: Any) -> Array:
        """Values of the samples of X (n_samples, n_features): (n_samples,), or (n_samples, n_outputs)."""
        return _flat(self._outputs(X))

    def _answers(self, y: Array, incremental: bool) -> Answers:
        table = self._table(y)
        return Answers(y, Targets(np.arange(len(table), dtype=np.int32), table), None)

    def _targets_of(self, y: Any) -> tuple[Array, Array]:
        y = one_column(check_array(y, ensure_2d=False, dtype="numeric", input_name="y_val"))
        return y, self._table(y)

    def _table(self, y: Array) -> Array:
        """Targets, (n, n_outputs)."""
        if self.loss == "poisson" and y.min() < 0:
            raise ValueError(f"loss='poisson' needs y of 0 or more, got {y.min()}; use loss='squared_error'.")
        return y.reshape(len(y), -1).astype(np.float64, copy=False)

    def _output_activation(self) -> str:
        return "exp" if self.loss == "poisson" else "identity"

    def _score_outputs(self, labels: Array, outputs: Array, weights: Array | None) -> float:
        """R^2; NaN where the network has diverged."""
        if not np.isfinite(outputs).all():
            return float("nan")
        return float(r2_score(labels, _flat(outputs), sample_weight=weights))


def _flat(outputs: Array) -> Array:
    return outputs.ravel() if outputs.shape[1] == 1 else outputs
