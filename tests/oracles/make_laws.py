"""Tables of laws in ``tests/golden/laws``: ``python -m tests.oracles.make_laws [name ...]``.

A row has the parameters and a value, rounded to single precision in two rows of three and to double
in the others, and there, by mpmath, each function of the law and its condition number: the sum over
parameters and value of ``|u f'(u) / f|``. Rows that single precision holds are tested in both.
"""

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mpmath import mp

from tests.oracles.mp_matrices import LAWS
from tests.oracles.mp_reference import Reference

FOLDER = Path(__file__).parents[1] / "golden" / "laws"
STEP = mp.mpf(10) ** -18


def rounded(value: Any, kind: Any) -> Any:
    """A number or a list of numbers, as a precision holds it."""
    return [rounded(v, kind) for v in value] if isinstance(value, list) else float(kind(value))


def exact(value: Any) -> Any:
    """A number or a list of numbers in 50 digits."""
    return [exact(v) for v in value] if isinstance(value, list) else mp.mpf(value)


def moved(value: Any) -> Iterator[Any]:
    """A number or a list of numbers with one of them, each in turn, a little larger."""
    if not isinstance(value, list):
        yield value * (1 + STEP)
        return
    for i, part in enumerate(value):
        for other in moved(part):
            yield [*value[:i], other, *value[i + 1 :]]


def condition(f: Callable[..., Any], inputs: dict[str, Any], at: Any) -> Any:
    """The condition number of ``f`` at inputs, with the value it has there."""
    if not mp.isfinite(at) or at == 0:
        return mp.inf if at == 0 else mp.mpf(0)
    total = mp.mpf(0)
    for name, value in inputs.items():
        for other in moved(value):
            total += abs((f(**{**inputs, name: other}) - at) / STEP / at)
    return total


def table(name: str, law: Reference) -> dict[str, np.ndarray]:
    """The columns of a law's table."""
    r = random.Random(name)
    columns: dict[str, list[Any]] = {}
    for row in range(law.rows):
        kind = np.float64 if row % 3 == 2 else np.float32
        given: dict[str, Any] = {}
        while not given or not law.valid(given):
            params = {key: rounded(draw(r), kind) for key, draw in law.params.items()}
            given = {**params, "x": rounded(law.x(r, params), kind)}
        inputs = {key: exact(value) for key, value in given.items()}
        found = dict(given)
        for what, f in law.functions.items():
            own = {k: v for k, v in inputs.items() if k != "x" or what != "entropy"}
            value = f(**own)
            found[what] = float(value)
            found[f"{what}.condition"] = min(float(condition(f, own, value)), 1e30)
        for key, value in found.items():
            columns.setdefault(key, []).append(value)
    return {
        key: np.asarray(column, np.float32 if key.endswith(".condition") else np.float64)
        for key, column in columns.items()
    }


def main(names: list[str]) -> None:
    """Write the tables, all or those named."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names or LAWS:
        np.savez_compressed(FOLDER / f"{name}.npz", **table(name, LAWS[name]))


if __name__ == "__main__":
    main(sys.argv[1:])
