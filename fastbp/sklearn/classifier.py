"""Multilayer perceptron for labels: two classes, several, or several labels per sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from .base import Answers, BaseMLP, one_column
from .engines import Targets

__all__ = ["MLPClassifier"]

Array = NDArray[Any]


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A multilayer perceptron that predicts labels; stands in for scikit-learn's `MLPClassifier`.

    The output layer and the loss follow from y: softmax with cross-entropy for three classes or more, one sigmoid unit
    for two classes and one per label for several labels per sample, both with binary cross-entropy.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        units of the hidden layers
    activation : str or sequence of str
        identity, logistic, tanh, relu or leaky_relu (slope 0.01 below 0); a sequence has one per hidden layer
    solver : str
        sgd (with `momentum`), adam (Kingma, Ba 2015), adamw (Loshchilov, Hutter 2019), rmsprop (Tieleman, Hinton 2012),
        or lbfgs: all samples at once, by SciPy
    alpha : float
        penalty alpha / 2 * sum of W^2, divided by the number of samples of a batch; for adamw instead
        W -= learning rate * alpha * W beside each step
    batch_size : int or "auto"
        "auto" is min(200, n_samples)
    learning_rate : {"constant", "invscaling", "adaptive"}
        sgd only: as it is; divided by (samples seen + 1) ** power_t; or divided by 5 instead of stopping
    learning_rate_init, power_t : float
    max_iter : int
        epochs, or iterations of lbfgs
    shuffle : bool
        a new order of samples for each epoch
    random_state : int, RandomState or None
        of start weights, validation set, orders and dropout; the same numbers as in scikit-learn
    tol, n_iter_no_change : float, int
        stop after more than so many epochs in which loss (or score, with early_stopping) got no better by tol
    verbose : bool
        print the loss of each epoch
    warm_start : bool
        `fit` goes on from the present weights
    momentum, nesterovs_momentum : float, bool
        sgd only
    early_stopping, validation_fraction : bool, float
        set aside a share of the samples, stop by the score on them, and keep the weights with the best one
    beta_1, beta_2, epsilon : float
        adam and adamw; epsilon also of rmsprop
    max_fun : int
        most evaluations of lbfgs
    class_weight : dict, "balanced" or None
        {label: weight}; "balanced" is n_samples / (n_classes * count of the class). Multiplies sample_weight
    dropout : float or sequence of float
        share of hidden units that are dropped in training, from 0 to below 1; a sequence has one per hidden layer
        (Srivastava et al. 2014, inverted)
    clip_norm : float or None
        scale a longer gradient of a batch down to this Euclidean norm
    label_smoothing : float
        targets are (1 - s) of the label plus s spread evenly over all classes (Szegedy et al. 2016); from 0 to below 1
    rho : float
        rmsprop: how much of the mean of squared gradients is kept
    dtype : {"float32", "float64"} or None
        precision of training; None follows X: float32 stays, everything else is float64
    threads : int
        cores of the engine; they change no bit of the result

    Attributes
    ----------
    classes_ : (n_classes,) array
    coefs_, intercepts_ : lists of (n_in, n_out) and (n_out,) arrays
    loss_, best_loss_, loss_curve_ : of training, per epoch; best_loss_ is None with early_stopping
    validation_scores_, best_validation_score_, validation_loss_curve_ : None without validation set
    n_iter_, t_ : epochs of the last fit, samples seen
    n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_
    stopped_ : bool
        True where `n_iter_no_change` ended training

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.sklearn import MLPClassifier
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> model = MLPClassifier(hidden_layer_sizes=8, solver="lbfgs", random_state=1).fit(X, ["no", "yes", "yes", "no"])
    >>> model.predict(X).tolist()
    ['no', 'yes', 'yes', 'no']
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMLP._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }
    loss = "log_loss"

    def __init__(
        self,
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
        class_weight: Mapping[Any, float] | str | None = None,
        dropout: float | Sequence[float] = 0.0,
        clip_norm: float | None = None,
        label_smoothing: float = 0.0,
        rho: float = 0.9,
        dtype: str | None = None,
        threads: int = 1,
    ) -> None:
        self._keep(locals())

    @available_if(lambda est: est._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None, X_val: Any = None, y_val: Any = None
    ) -> Any:
        """One epoch over X and y, from where the last call left weights and optimiser; see `fit` for the arrays.

        Parameters
        ----------
        classes : array-like of shape (n_classes,)
            all labels that will ever come; the first call needs it
        X_val, y_val : optional
            with early_stopping=True the estimator notes the best score on them; after n_iter_no_change calls without a
            better one it takes back the best weights, and `stopped_` is True
        """
        if _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer()
            self._label_binarizer.fit(y if type_of_target(y).startswith("multilabel") else classes)
        return self._fit(X, y, sample_weight, X_val, y_val, incremental=True)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def predict(self, X: Any) -> Any:
        """Labels of the samples of X (n_samples, n_features): (n_samples,), or (n_samples, n_labels) of 0 and 1."""
        return self._labels(self._outputs(X))

    def predict_proba(self, X: Any) -> Array:
        """Probability of each class, in the order of classes_: (n_samples, n_classes)."""
        p = self._outputs(X)
        return np.hstack([1 - p, p]) if self.n_outputs_ == 1 else p

    def predict_log_proba(self, X: Any) -> Array:
        """Logarithms of `predict_proba`, (n_samples, n_classes)."""
        return np.asarray(np.log(self.predict_proba(X)))

    # --- labels and targets -------------------------------------------------------------------------------------------

    def _answers(self, y: Any, incremental: bool) -> Answers:
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            self._check_labels(y, all_of_them=self.warm_start)
        targets = self._encoded(y)
        return Answers(y, targets, targets.rows if self._kind() == "binary" else None)

    def _check_labels(self, y: Any, all_of_them: bool, name: str = "`y`") -> None:
        """ValueError for labels that the network does not know, and with `all_of_them` also where one is missing."""
        if type_of_target(y).startswith("multilabel") != (self._kind() == "multilabel"):
            raise ValueError(
                f"{name} is {type_of_target(y)}, but the classifier was fitted with {self._kind()} labels."
            )
        labels = set(unique_labels(y).tolist())
        known = set(self.classes_.tolist())
        if all_of_them and labels != known:
            raise ValueError(
                f"warm_start can only be used where {name} has the same classes as in the previous call to fit. "
                f"Previously got {self.classes_}, {name} has {sorted(labels, key=str)}"
            )
        if not labels <= known:
            raise ValueError(
                f"{name} has classes not in `self.classes_`. `self.classes_` has {self.classes_}. "
                f"{name} has {sorted(labels, key=str)}."
            )

    def _kind(self) -> str:
        """binary, multiclass or multilabel."""
        return str(self._label_binarizer.y_type_).split("-")[0]

    def _output_activation(self) -> str:
        return "softmax" if self._kind() == "multiclass" else "logistic"

    def _encoded(self, y: Any) -> Targets:
        """The table of codes and the row of each sample; several labels per sample have a row each."""
        kind = self._kind()
        if kind == "multilabel":
            codes = self._label_binarizer.transform(y).astype(np.float64)
            rows = np.arange(len(codes), dtype=np.int32)
        else:
            codes = np.eye(len(self.classes_)) if kind == "multiclass" else np.array([[0.0], [1.0]])
            rows = np.searchsorted(self.classes_, y).astype(np.int32)
        spread = self.label_smoothing / (codes.shape[1] if kind == "multiclass" else 2)
        return Targets(rows, codes * (1 - self.label_smoothing) + spread)

    def _targets_of(self, y: Any) -> tuple[Any, Array]:
        y = one_column(check_array(y, ensure_2d=False, dtype=None, accept_sparse=True, input_name="y_val"))
        self._check_labels(y, all_of_them=False, name="`y_val`")
        return y, self._encoded(y).dense(slice(None))

    def _class_weights(self, labels: Any) -> Array | None:
        if self.class_weight is None:
            return None
        return np.asarray(compute_sample_weight(self.class_weight, labels))

    def _labels(self, outputs: Array) -> Any:
        return self._label_binarizer.inverse_transform(outputs.ravel() if self.n_outputs_ == 1 else outputs)

    def _score_outputs(self, labels: Any, outputs: Array, weights: Array | None) -> float:
        """Accuracy: of several labels per sample, all must be right."""
        labels = labels.toarray() if issparse(labels) else labels
        found = self._labels(outputs)
        found = found.toarray() if issparse(found) else found
        return float(accuracy_score(labels, found, sample_weight=weights))
