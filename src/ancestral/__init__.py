"""Ancestral: deep generative models, written as their papers write them."""

from importlib import import_module

from ancestral._version import __version__

__all__ = [
    "__version__",
    "distributions",
    "losses",
    "models",
    "nn",
    "print_latex",
]

_NAMES = {"print_latex": "ancestral.core.display"}


def __getattr__(name: str) -> object:
    """Packages and names, loaded when first used: ``import ancestral`` does not import torch."""
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    if name in __all__:
        return import_module(f"ancestral.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What is public, loaded or not."""
    return __all__
