"""The names of the activations, and activations of your own: a function f and its derivative f', for hidden layers.

A pair of Python functions of numbers comes in and is tried at some points: what does not give finite numbers there is
refused, and so is an f' that is not the slope of f, measured by central differences. Engines compile the pair;
everything else calls it as it is. Standard library only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable
from numbers import Real
from typing import Any

from .errors import UsageError

__all__ = ["ACTIVATIONS", "HIDDEN_ACTIVATIONS", "OUTPUT_ACTIVATIONS", "CustomActivation", "name_of"]

OUTPUT_ACTIVATIONS = ("step", "identity", "sigmoid", "tanh", "relu", "leaky_relu", "softmax", "exponential")
HIDDEN_ACTIVATIONS = ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "maxout")
ACTIVATIONS = (*OUTPUT_ACTIVATIONS, "maxout")

POINTS = (-4.713, -2.237, -1.171, -0.437, -0.113, 0.129, 0.473, 1.193, 2.311, 4.657)  # where kinks seldom are
STEP = 1e-5
TOLERANCE = 1e-5  # of a central difference, which is wrong by 1e-10 or so; a wrong formula by much more


class CustomActivation:
    """A pair of functions f(z) and f'(z, a) for the hidden layers of a network.

    Where it is used, the compiled stages run (``engine="stages"``), and compile the pair once per process. A model file
    holds its name alone: `load` is given the pair again.

    Parameters
    ----------
    name : str
        what model files and reports call it: a letter, then letters, digits and underscores; none of fastbp's own names
    f : callable
        f(z), number in, number out: a plain function of arithmetic and ``math``, or one that is compiled with ``@njit``
    f_prime : callable
        f'(z, a), the derivative of f at z; a = f(z) is there for those that are simpler with it

    Raises
    ------
    UsageError
        another name; functions that raise errors or give anything but finite numbers; an f_prime that is not the
        derivative of f

    Examples
    --------
    >>> import math
    >>> softsign = CustomActivation("softsign", lambda z: z / (1 + abs(z)), lambda z, a: (1 - abs(a)) ** 2)
    >>> softsign.value(3.0), softsign.slope(3.0, 0.75)
    (0.75, 0.0625)
    >>> CustomActivation("wrong", math.sin, lambda z, a: a)
    Traceback (most recent call last):
        ...
    fastbp.errors.UsageError: activation wrong: f_prime(-4.713, 1) is 1, but the slope of f there is 0.00061102 (by \
central differences); f_prime must be the derivative of f
    """

    __slots__ = ("f", "f_prime", "name")

    def __init__(self, name: str, f: Callable[[Any], Any], f_prime: Callable[[Any, Any], Any]) -> None:
        if not isinstance(name, str) or not re.fullmatch("[A-Za-z][A-Za-z0-9_]{0,39}", name) or name in ACTIVATIONS:
            raise UsageError(
                "the name of an activation must be a letter and up to 39 letters, digits or underscores, other than "
                f"{', '.join(ACTIVATIONS)}, got {name!r}"
            )
        for what, function in (("f", f), ("f_prime", f_prime)):
            if not callable(function) or not isinstance(function, Hashable):
                raise UsageError(f"activation {name}: {what} must be a function of numbers, got {function!r}")
        self.name, self.f, self.f_prime = name, f, f_prime
        for z in POINTS:
            self._try(z)

    def __repr__(self) -> str:
        return f"CustomActivation({self.name!r})"

    def __eq__(self, other: object) -> bool:
        """The same name and the same functions."""
        if not isinstance(other, CustomActivation):
            return NotImplemented
        return (self.name, self.f, self.f_prime) == (other.name, other.f, other.f_prime)

    def __hash__(self) -> int:
        return hash((self.name, self.f, self.f_prime))

    def value(self, z: float) -> float:
        """f(z) by Python; NaN where z is not finite. UsageError where f raises an error or gives no number."""
        return self._call("f", self.f, z) if math.isfinite(z) else math.nan

    def slope(self, z: float, a: float) -> float:
        """f'(z, a), likewise."""
        return self._call("f_prime", self.f_prime, z, a) if math.isfinite(z) else math.nan

    def _call(self, what: str, function: Callable[..., Any], *arguments: float) -> float:
        """What a function of the pair says, as a float."""
        given = f"activation {self.name}: {what}({', '.join(f'{each:.6g}' for each in arguments)})"
        try:
            result = function(*arguments)
        except Exception as error:
            raise UsageError(
                f"{given} raised {type(error).__name__} ({error}); it must give a number for every z"
            ) from error
        if not isinstance(result, Real):
            raise UsageError(f"{given} is {result!r}, a {type(result).__name__}; it must be a number")
        return float(result)

    def _try(self, z: float) -> None:
        """Raise UsageError unless both functions are finite at z, and one is the slope of the other."""
        a = self.value(z)
        slope, above, below = self.slope(z, a), self.value(z + STEP), self.value(z - STEP)
        for what, value in ((f"f({z:g})", a), (f"f_prime({z:g}, {a:.6g})", slope)):
            if not math.isfinite(value):
                raise UsageError(f"activation {self.name}: {what} is {value}; it must be finite for every z")
        measured = (above - below) / (2 * STEP)
        if not abs(slope - measured) <= TOLERANCE * max(1.0, abs(measured), abs(a)):
            raise UsageError(
                f"activation {self.name}: f_prime({z:g}, {a:.6g}) is {slope:.6g}, but the slope of f there is "
                f"{measured:.6g} (by central differences); f_prime must be the derivative of f"
            )


def name_of(activation: str | CustomActivation) -> str:
    """The name, which for fastbp's own activations is all there is."""
    return activation.name if isinstance(activation, CustomActivation) else activation
