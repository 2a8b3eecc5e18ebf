"""Errors and warnings of Ancestral: each says what was written, what does not fit, what to do.

Every class inherits the built-in exception that users of Python, PyTorch or Pixyz expect, so
that ``except ValueError`` keeps working, and :class:`AncestralError`, so that all can be caught
at once.
"""

import sys
import warnings
from collections.abc import Iterable
from difflib import get_close_matches


class AncestralError(Exception):
    """Any error raised by Ancestral on purpose."""

    def __str__(self) -> str:  # KeyError would print the repr of its message
        return str(self.args[0]) if self.args else ""


class VariableError(AncestralError, ValueError):
    """A variable is duplicated, missing, cyclic or renamed onto a used name."""


class MissingVariableError(VariableError, KeyError):
    """A value that a law or a loss needs was not given."""


class OptionError(AncestralError, TypeError):
    """An option is unknown or contradicts another."""


class ParameterError(AncestralError, ValueError):
    """A law's parameters are missing, returned twice or unknown."""


class ShapeError(AncestralError, ValueError):
    """Two shapes do not fit: both are named, with the terms they belong to."""


class SupportError(AncestralError, ValueError):
    """A value lies outside the support of its law, or a parameter outside its domain."""


class DataError(AncestralError, ValueError):
    """Data is not finite, not a tensor, or in a form that is not understood."""


class DeviceError(AncestralError, RuntimeError):
    """Tensors lie on different devices."""


class NetworkError(AncestralError, RuntimeError):
    """A network failed: the term it stands in and the shapes it was given are named."""


class DensityError(AncestralError, NotImplementedError):
    """A law has no density that can be evaluated (deterministic, implicit, marginal)."""


class SamplingError(AncestralError, NotImplementedError):
    """A law cannot be drawn from, or not in the way that was asked for."""


class ScopeError(AncestralError, ValueError):
    """A variable or an axis is used where nothing binds it."""


class GradientError(AncestralError, RuntimeError):
    """A gradient would be silently wrong, or a trained parameter gets none."""


class GradientOnlyError(AncestralError, NotImplementedError):
    """A value was asked for where the chosen plan has a gradient and no value."""


class TrainingError(AncestralError, ValueError):
    """A model cannot be trained as it is written."""


class CheckpointError(AncestralError, ValueError):
    """Saved files are damaged, incomplete or of another model."""


class MissingExtraError(AncestralError, ImportError):
    """An optional dependency is not installed; the message gives the pip command."""


class PlugInWarning(UserWarning):
    """A non-linear function of a Monte Carlo expectation is biased."""


class LikelihoodWarning(UserWarning):
    """A density is evaluated where it is not a likelihood."""


def warn(message: Warning) -> None:
    """Warn at the line outside the package that led here: the user's own."""
    package = __name__.partition(".")[0]
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The words that follow an unknown name: a near match, or what exists.

    Example:
        >>> did_you_mean("laoc", ["loc", "scale"])
        "did you mean 'loc'?"
        >>> did_you_mean("batch", ["loc", "scale"])
        'known: loc, scale'
    """
    known = list(dict.fromkeys(known))
    near = [k for k in known if k.lower() == name.lower()] or get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return "known: " + (", ".join(known) if known else "none")
