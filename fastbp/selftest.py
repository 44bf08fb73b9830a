"""Does this installation compute what it should? Four trials on a tiny network, in a fraction of a second.

Nothing comes in, one `Trial` after the other goes out: what was tried, what came of it, and whether that is right.
Data is made here, and a model file is written to a temporary folder, which is gone afterwards.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .data import Dataset
    from .result import TrainingResult

__all__ = ["Trial", "trials"]

TOLERANCE = 1e-5  # of float32, after 24 steps
REPORT = "do not use these results; run: fastbp warmup, and report this if it stays"


class Trial(NamedTuple):
    """One property that must hold."""

    name: str
    passed: bool
    found: str
    advice: str | None  # where it did not pass


def trials(tell: Callable[[str], None] | None = None) -> Iterator[Trial]:
    """Train by two engines, twice, by two threads; save and load.

    Parameters
    ----------
    tell : callable, optional
        called with a text before kernels are compiled

    Yields
    ------
    Trial
        one after the other; what cannot be tried raises, as training does

    Examples
    --------
    >>> [trial.passed for trial in trials()]
    [True, True, True, True]
    """
    import numpy as np

    from .kernels import announce_compiling
    from .training import train

    data = _data()

    def trained(engine: str, threads: int = 1) -> TrainingResult:
        return train(data, layers="8", epochs=4, batch_size=16, learning_rate=0.5, engine=engine, threads=threads)

    with announce_compiling(tell or (lambda text: None)):
        fused = trained("fused")
    theta, expected = fused.model.parameters, trained("reference").model.parameters
    far = float(np.linalg.norm(theta - expected) / np.linalg.norm(expected))
    far = max(far, abs(fused.loss - float(trained("reference").loss)))
    right = far <= TOLERANCE  # and not where it is NaN
    yield _trial(
        "engines", right, f"the fused engine and the reference differ by {far:.0e}, of {TOLERANCE:.0e} allowed"
    )
    same = _same(theta, trained("fused").model.parameters)
    yield _trial("same seed", same, f"trained twice: {_bits(same)}")
    same = _same(theta, trained("fused", threads=2).model.parameters)
    yield _trial("threads", same, f"one thread and two: {_bits(same)}")
    yield _saved_and_loaded(fused, data)


def _saved_and_loaded(result: TrainingResult, data: Dataset) -> Trial:
    """The model goes to a file and comes back."""
    from .model import load

    try:
        with tempfile.TemporaryDirectory(prefix="fastbp-doctor-") as folder:
            path = Path(folder) / "model.safetensors"
            result.model.save(path)
            model = load(path)
    except OSError as error:
        found = f"no model could be written to a temporary folder: {error.strerror or error}"
        return Trial("model file", False, found, "set TMPDIR to a folder that can be written")
    same = _same(result.model.outputs(data.x_test), model.outputs(data.x_test))
    return _trial("model file", same, f"saved and loaded: {_bits(same)}")


def _data() -> Dataset:
    """96 samples of 12 bytes, in three classes that can be told apart; the same on every machine."""
    import numpy as np

    from .data import Dataset
    from .streams import permutation, stream_key

    noise = permutation(stream_key(0, "shuffle"), 96 * 12).reshape(96, 12) % 128
    y = np.arange(96) % 3
    x = (noise + 127 * (np.arange(12) % 3 == y[:, None])).astype(np.uint8)
    return Dataset.from_arrays(x, y, x[:24], y[:24], name="self-test")


def _same(ours: Any, theirs: Any) -> bool:
    return bool(ours.tobytes() == theirs.tobytes())


def _bits(same: bool) -> str:
    return "the same bits" if same else "other numbers"


def _trial(name: str, passed: bool, found: str) -> Trial:
    return Trial(name, passed, found, None if passed else REPORT)
