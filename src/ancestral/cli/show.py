"""``ancestral show MODEL``."""

import typer

from ancestral.cli.registry import build
from ancestral.models import Recipe


def show_model(name: str) -> None:
    """Print the equation, its LaTeX, the laws and the program.

    Args:
        name: A model of the zoo.

    Raises:
        OptionError: The zoo has no such model.
    """
    recipe = build(name, {})
    for heading, text in readings(recipe).items():
        typer.echo(f"{heading}\n{indented(text)}\n")


def readings(recipe: Recipe) -> dict[str, str]:
    """Heading -> the objective or the laws in one of their forms."""
    laws = [law for law in (recipe.generative, recipe.posterior) if law is not None]
    return {
        "Equation": str(recipe.objective),
        "LaTeX": recipe.objective.latex(),
        "Laws": "\n\n".join(str(law) for law in laws),
        "Program": str(recipe.objective.program()),
    }


def indented(text: str) -> str:
    """The text, two blanks to the right.

    Example:
        >>> indented("z ~ q")
        '  z ~ q'
    """
    return "\n".join(f"  {line}".rstrip() for line in text.rstrip().split("\n"))
