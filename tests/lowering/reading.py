"""What tests ask of a program: its draws, their axes, who reads them."""

from typing import Any

import torch

from ancestral.program import instructions as ir


def program(loss: Any, **scalars: Any) -> ir.Program:
    """The program of a loss."""
    return loss.program(**scalars)


def draws(loss: Any) -> list[str]:
    """The names of the draws that a loss makes, in order."""
    return [s.noise for s in program(loss).steps if isinstance(s, ir.Draw)]


def axes(loss: Any) -> dict[str, list[tuple[str, int | None]]]:
    """The axes of each draw, as names and the sizes that the program fixes."""
    made = [s for s in program(loss).steps if isinstance(s, ir.Draw)]
    return {s.noise: [(a.name, a.size) for a in s.out.axes] for s in made}


def passes(loss: Any) -> list[str]:
    """The laws whose parameters are computed, one entry per pass."""
    return [str(s.text) for s in program(loss).steps if isinstance(s, ir.Params)]


def readers(loss: Any, draw: str) -> int:
    """How many steps read a draw."""
    found = program(loss)
    out = found.draws[draw]
    return sum(out in ir.Program.operands(s) for s in found.steps)


def twice(loss: Any, batch: Any = None, **options: Any) -> Any:
    """The value by the interpreter, after asserting that the generated step has it to the bit."""
    function = loss.function()
    state = torch.get_rng_state()
    first = function(batch, **options)
    torch.set_rng_state(state)
    second = function(batch, **options)
    assert torch.equal(first.nan_to_num(nan=1e30), second.nan_to_num(nan=1e30)), (first, second)
    return first
