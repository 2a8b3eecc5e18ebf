"""The way into a generated step: a text that knows inputs of one kind and draws their noise.

A call that differs from the last one in nothing but the numbers has little to look at, and all of
it stands in one condition: the shapes, dtypes and devices of the inputs, and the networks and
constants that the step was made for. Inputs for which it does not hold go the long way, which
says what is amiss or makes another step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ancestral.core.rng import DIRECT

# of a batch, its rows where no data says them, and a generator: the arguments of the step
Entry = Callable[[Any, int | None, Any], tuple[Any, ...] | None]

TEXT = """\
def make({bound}):
    def enter(found, batch_n, generator):
        try:
{inputs}
            if not ({terms}):
                return None
        except (KeyError, TypeError, AttributeError):
            return None
        return ({arguments})
    return enter
"""


@dataclass
class EntryText:
    """A text in the making: its terms, its arguments, and what they mention by name."""

    inputs: dict[str, str] = field(default_factory=dict)
    terms: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    bound: list[Any] = field(default_factory=list)

    def bind(self, *things: Any) -> list[str]:
        """The names of things in the text."""
        start = len(self.bound)
        self.bound += things
        return [f"c{i}" for i in range(start, len(self.bound))]

    def expect(self, data: Mapping[str, Tensor], batch_n: int | None) -> None:
        """The inputs are of this kind."""
        for name, value in data.items():
            x = self.inputs[name] = f"x{len(self.inputs)}"
            shape, dtype, device = self.bind(value.shape, value.dtype, value.device)
            self.terms += [f"{x}.shape == {shape}", f"{x}.dtype is {dtype}"]
            if x == "x0":  # where one has moved, all have, or torch refuses the step
                self.terms.append(f"{x}.device == {device}")
        self.terms.append("batch_n is None" if batch_n is None else f"batch_n == {batch_n!r}")

    def keep(self, owner: Mapping[str, Any], key: str, thing: Any) -> None:
        """What an owner has under a key is this thing."""
        a, b = self.bind(owner, thing)
        self.terms.append(f"{a}.get({key!r}) is {b}")

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """The next argument is what a function gives for these and the generator."""
        name, *given = self.bind(function, *args)
        text = f"{name}({', '.join(given)}, generator)"
        if function in DIRECT:
            (direct,) = self.bind(DIRECT[function])
            text = f"{direct}({', '.join(given)}) if generator is None else {text}"
        self.arguments.append(text)

    def written(self) -> str:
        """The text of a factory, to be called with what is bound."""
        inputs = [f"            {x} = found[{name!r}]" for name, x in self.inputs.items()]
        return TEXT.format(
            bound=", ".join(f"c{i}" for i in range(len(self.bound))),
            inputs="\n".join(inputs),
            terms="\n                and ".join(self.terms),
            arguments="".join(f"{a}, " for a in self.arguments),
        )
