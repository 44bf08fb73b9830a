"""scikit-learn's callbacks: a task per epoch or L-BFGS iteration, with a copy of the estimator that can predict.

`set_callbacks` and the protocol of callbacks are scikit-learn's, from version 1.9 on. With an older one there is no
`set_callbacks`, and every task here does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in for the mixin of scikit-learn 1.9."""


__all__ = ["CallbackSupportMixin", "Tasks"]

Attributes = dict[str, Any]


class Tasks:
    """The tasks of one fit: the fit itself, and its epochs or iterations one after the other.

    Parameters
    ----------
    estimator : estimator
    name : str
        fit or partial_fit
    n_tasks : int
        at most so many epochs will follow
    X, y, sample_weight
        what the hooks are given
    """

    def __init__(self, estimator: Any, name: str, n_tasks: int, X: Any, y: Any, sample_weight: Any) -> None:
        self._estimator = estimator
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._given = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._task: Any = None
        self._fit: Any = None
        if hasattr(estimator, "_init_callback_context"):
            self._fit = estimator._init_callback_context(task_name=name, max_subtasks=n_tasks)
            self._fit.call_on_fit_task_begin(**self._given)

    @property
    def watched(self) -> bool:
        """False where nobody listens."""
        return self._fit is not None and bool(getattr(self._estimator, "_skl_callbacks", None))

    def begin(self, name: str, attributes: Callable[[], Attributes]) -> None:
        """An epoch or iteration starts. `attributes` gives the fitted attributes of a copy that predicts."""
        if self.watched:
            self._task = self._fit.subcontext(task_name=name)
            self._task.call_on_fit_task_begin(**self._given, reconstruction_attributes=attributes)

    def end(self, attributes: Callable[[], Attributes]) -> bool:
        """It has ended. True where a callback asks to stop."""
        if self._task is None:
            return False
        task, self._task = self._task, None
        return bool(task.call_on_fit_task_end(**self._given, reconstruction_attributes=attributes))

    def abandon(self) -> None:
        """What had begun has not taken place: SciPy announces an iteration before it knows that there is none."""
        if self._task is not None:
            task, self._task = self._task, None
            task.call_on_fit_task_end(estimator=self._estimator)

    def close(self) -> None:
        """The whole fit has ended; the estimator has its fitted attributes."""
        if self._fit is not None:
            self._fit.call_on_fit_task_end(**self._given, reconstruction_attributes={})
