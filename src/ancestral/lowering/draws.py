"""Pass 2, draws: which expectations share a draw of a law.

Two expectations are two integrals. They share a draw of a law unless one lies inside the other,
or the smallest expression that holds both is not a sum. From left to right, each expectation
takes the first draw that no conflicting one has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ancestral.losses.iterative import IterativeLoss
from ancestral.losses.node import Node
from ancestral.lowering.rewrite import is_sum

Path = tuple[tuple[Node, int], ...]  # from the root: a node, and which child was taken


def conflict(a: Path, b: Path) -> bool:
    """Whether two expectations, given by the paths to them, must not share a draw."""
    for (node, i), (_, j) in zip(a, b, strict=False):
        if i != j:
            return not is_sum(node)
    return True  # one lies inside the other, or they are one


def loop_of(path: Path) -> Node | None:
    """The loss over time in whose steps something stands."""
    return next((node for node, _ in reversed(path) if isinstance(node, IterativeLoss)), None)


@dataclass
class Record:
    """One draw of a law: what it is a draw of, who uses it, in how many copies it is made."""

    key: Any  # hashable
    index: int
    depth: int
    count: int | None
    first: "First"
    users: list[Path] = field(default_factory=list)
    loop: Node | None = None  # the loss over time in whose steps it is made


First = tuple[Any, ...]  # who took a draw first: the variables, and where the expectation stands
Counts = Mapping[First, int]


class Ledger:
    """All draws of a program.

    Args:
        counts: The numbers of draws that an earlier round of assignment has found.
    """

    def __init__(self, counts: Counts) -> None:
        self._given = counts
        self.records: list[Record] = []

    def copied(self) -> list[Record]:
        """The draws so far, as they are now."""
        return [replace(r, users=list(r.users)) for r in self.records]

    def assign(
        self, key: Any, names: tuple[str, ...], path: Path, depth: int, count: int | None
    ) -> Record:
        """The draw that an expectation takes of the law that draws these names."""
        for record in self.records:
            if (
                record.key != key
                or record.loop != loop_of(path)
                or any(conflict(path, user) for user in record.users)
            ):
                continue
            if count is not None and record.count not in (None, count):
                continue
            if record.depth != depth and (count is not None or record.count is not None):
                continue
            record.users.append(path)
            record.count = count if record.count is None else record.count
            return record
        first = (names, *(i for _, i in path))
        planned = self._given.get(first) if count is None else count
        record = Record(key, len(self.records), depth, planned, first, [path])
        record.loop = loop_of(path)
        self.records.append(record)
        return record

    def name(self, var: str, record: Record) -> str:
        """The name of a draw: its variable; of a second draw of it, with a number."""
        earlier = self.records[: record.index]
        before = [r for r in earlier if r.key[1][0] == var and r.key[4] != "table"]
        return f"{var}#{len(before) + 1}" if before else var

    @property
    def counts(self) -> Counts:
        """The numbers of draws that were written, by who took the draw first."""
        return {r.first: r.count for r in self.records if r.count is not None}
