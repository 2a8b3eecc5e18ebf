"""What surrounds a node of a loss that is written: how names print that stand for other things."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ancestral.losses.scope import free
from ancestral.printing.dialect import Dialect

Printed = tuple[str, int]  # a formula and its precedence


@dataclass(frozen=True)
class Context:
    """What surrounds a node: the written form, and how names print that stand for something else.

    Args:
        dialect: The written form.
        names: How a name prints in a law: ``r=1``.
        values: How it prints where its value stands: ``1``.
        reads: The names that stand in what prints for it.
        sizes: The number of copies along a named axis.
    """

    dialect: Dialect
    names: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Printed] = field(default_factory=dict)
    reads: Mapping[str, frozenset[str]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

    def spelled(self, name: str) -> str:
        """A name as it prints in a law."""
        return self.names.get(name, self.dialect.name(name))

    def read(self, names: Sequence[str]) -> frozenset[str]:
        """The names that stand where some names do, as they print."""
        return frozenset[str]().union(*(self.reads.get(n, {self.spelled(n)}) for n in names))

    def binding(self, names: Sequence[str], node: Any) -> "Context":
        """The context in which a node has bound names: by their own name, or with a prime if a
        free variable prints like it.
        """
        taken = self.read(free(node))
        fresh = {}
        for name in names:
            prime = name
            while self.dialect.name(prime) in taken:
                prime += "'"
            if prime != name:
                fresh[name] = self.dialect.name(prime)
        kept = {k: v for k, v in self.names.items() if k not in names}
        values = {k: v for k, v in self.values.items() if k not in names}
        reads = {k: v for k, v in self.reads.items() if k not in names}
        return replace(self, names={**kept, **fresh}, values=values, reads=reads)
