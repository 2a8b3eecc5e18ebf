"""The lowered losses of a model: made when it is built, dropped by a copy, made again when needed.

Each player has one; players who make their steps together have one for all, and so has the test.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ancestral.core.errors import PlugInWarning, TrainingError
from ancestral.losses import Node
from ancestral.losses.game import MIN, Game
from ancestral.losses.globals import SIZE
from ancestral.losses.scope import inputs, value_names
from ancestral.lowering.function import LossFunction
from ancestral.models.gradient import check_one_process
from ancestral.models.parameters import modules_in
from ancestral.models.turn import Given, Turn, naming
from ancestral.runtime.compiled import GRADIENT

Key = tuple[str, ...]  # of a player its name
TEST: Key = ()
TOGETHER: Key = ("", "together")


def with_size(batch: Any, size: int | None) -> Any:
    """A batch with the number of rows of the data set that it stands for."""
    if size is None or not (batch is None or isinstance(batch, Mapping)):
        return batch
    return {SIZE: torch.tensor(float(size)), **(batch or {})}


class Steps:
    """What a model evaluates.

    Args:
        turns: The players, in order.
        test_loss: What the test returns.
        together: Whether the players make their steps together.
        compile: As in ``Model``.
    """

    def __init__(
        self, turns: Sequence[Turn], test_loss: Node, together: bool, compile: bool | str
    ) -> None:
        self.turns, self.test_loss, self.together = turns, test_loss, together
        self.compile = compile
        self._made: dict[Key, LossFunction] = {}
        data = {t.name: set(inputs(t.loss)) - value_names(t.loss) for t in turns}
        self._without_rows = {name for name, names in data.items() if not names}
        self._data = set().union(*data.values())
        for turn in turns:
            turn.look(turns)
        for key in [TOGETHER] if together else [(turn.name,) for turn in turns]:
            self._made[key] = self._make(key)
        if test_loss is not turns[-1].objective and not isinstance(test_loss, Game):
            self._made[TEST] = self._make(TEST)

    def check(self) -> None:
        """Raise if a loss is not one number, or its gradient would be silently wrong."""
        for turn in self.turns:
            with naming(turn):
                function = self.of(turn)
                scalars = frozenset(value_names(function.loss))
                if function.program(scalars).result.axes:
                    raise TrainingError(
                        f"{turn.objective} has one value per row; a model minimises one number. "
                        f"Write ({turn.objective}).mean(), or .sum()."
                    )
                function.check_gradients(scalars)

    def kept(self) -> dict[str, tuple[int | None, ...]]:
        """The states that steps hand to the next, and the sizes of their axes."""
        functions = [self.of(turn) for turn in self.turns] + [self.test]
        programs = (f.program(frozenset(value_names(f.loss))) for f in functions)
        found = (pair for program in programs for pair in program.kept.items())
        return {name: tuple(a.size for a in register.axes) for name, register in found}

    def of(self, turn: Turn) -> LossFunction:
        """What a player evaluates."""
        return self._get(TOGETHER if self.together else (turn.name,))

    @property
    def test(self) -> LossFunction:
        """What the test evaluates."""
        main = self.turns[-1]
        is_main = not self.together and self.test_loss is main.loss
        return self._get((main.name,) if is_main else TEST)

    def _get(self, key: Key) -> LossFunction:
        if key not in self._made:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PlugInWarning)  # said when the model was built
                self._made[key] = self._make(key)
        return self._made[key]

    def _make(self, key: Key) -> LossFunction:
        trained: Any = [p for p in self.turns[0].everyone.parameters() if p.requires_grad]
        own: Any = {id(p) for p in trained}
        loss = self.test_loss
        if key == TOGETHER:
            trained = [turn.trained for turn in self.turns]
            own = [set(map(id, mine)) for mine in trained]
            names = tuple(turn.name for turn in self.turns)
            loss = Game(names, (MIN,) * len(names), tuple(turn.loss for turn in self.turns))
        elif key != TEST:
            turn = next(t for t in self.turns if (t.name,) == key)
            loss, trained = turn.loss, turn.trained
            own = {id(p) for p in trained}
        if self.compile == GRADIENT or (self.compile and key == TOGETHER):
            check_one_process(loss, modules_in(loss))
        return LossFunction(loss, trained=own, compile=self.compile, weights=trained)

    def share(self, turn: Turn, given: Given) -> Given:
        """What a player needs of noise and scalars; names that nobody knows are left in.

        One whose loss reads no data draws as many rows as the batch has that the others read.
        """
        if self.together or len(self.turns) == 1:
            return given
        if turn.name in self._without_rows and given.batch_n is None:
            given = given._replace(batch_n=_rows(given.batch, self._data))
        if not (given.noise or given.scalars):
            return given
        known = {t.name: set(inputs(t.loss)) for t in self.turns}
        scalars = _own(given.scalars, turn.name, known)
        numbers = frozenset(value_names(turn.loss)) | frozenset(scalars)
        drawn = {
            t.name: set(self.of(t).program(numbers & known[t.name]).draws) for t in self.turns
        }
        noise = _own(given.noise or {}, turn.name, drawn)
        return given._replace(scalars=scalars, noise=noise or None)

    def __len__(self) -> int:
        """How many are lowered now."""
        return len(self._made)

    def __getstate__(self) -> dict[str, Any]:
        """Lowered steps hold the weights of this model: a copy makes its own."""
        return {**self.__dict__, "_made": {}}


def _own(given: Mapping[str, Any], name: str, known: Mapping[str, set[str]]) -> dict[str, Any]:
    every = set().union(*known.values())
    return {k: v for k, v in given.items() if k in known[name] or k not in every}


def _rows(batch: Mapping[str, Any] | None, names: set[str]) -> int | None:
    """The rows of a batch's data."""
    sizes = (len(v) for k, v in (batch or {}).items() if k in names and v.dim())
    return next(sizes, None)
