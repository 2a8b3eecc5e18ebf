"""Laws and losses in a notebook: the typeset equation, and the graphical model under it."""

from typing import Any

from ancestral.distributions import Distribution
from ancestral.printing import graph
from ancestral.printing import law as law_text
from ancestral.printing import loss as loss_text

STYLE = (
    "font-family:'STIX Two Math','Latin Modern Math','Cambria Math','DejaVu Math TeX Gyre',math;"
    "overflow-x:auto;text-align:center"
)


def of_law(dist: Distribution) -> str:
    """A law's equation and graph as HTML."""
    return _html(law_text.mathml(dist), graph.of_law(dist))


def of_loss(node: Any) -> str:
    """A loss's equation and graph as HTML; the equation alone if it mentions no law."""
    drawn = graph.of_losses({"": node}) if len(graph.of_loss(node)) else ""
    return _html(loss_text.mathml(node), drawn)


def _html(equation: str, picture: str) -> str:
    below = f'<div style="text-align:center">{picture}</div>' if picture else ""
    return f'<div style="{STYLE}">{equation}</div>{below}'
