"""The errors of fastbp: one sentence each, and the exit code that the shell sees.

Every message names what was got, what is accepted and what to do. Nothing here imports anything.
"""

from __future__ import annotations

__all__ = ["AtOnce", "DataError", "DivergedError", "DownloadError", "FastbpError", "ModelError", "UsageError"]


class AtOnce(KeyboardInterrupt):
    """A second Ctrl-C: there is no time left to measure anything."""


class FastbpError(Exception):
    """Anything fastbp refuses or cannot do (disk full, no GPU, ...). Exit code 1."""

    exit_code = 1


class UsageError(FastbpError, ValueError):
    """An option, a setting or a combination that makes no sense. Exit code 2."""

    exit_code = 2


class DataError(FastbpError, ValueError):
    """A dataset or image file that is damaged, unsafe or not what it claims to be. Exit code 3."""

    exit_code = 3


class ModelError(FastbpError, ValueError):
    """A model file that is damaged or whose contents do not fit together. Exit code 4."""

    exit_code = 4


class DivergedError(FastbpError, ArithmeticError):
    """Training reached NaN or infinity. Exit code 5.

    ``result`` is the `fastbp.result.TrainingResult` of the last finite weights.
    """

    exit_code = 5

    def __init__(self, message: str, result: object = None) -> None:
        super().__init__(message)
        self.result = result


class DownloadError(FastbpError, OSError):
    """No mirror could deliver a file with the pinned checksum. Exit code 6."""

    exit_code = 6
