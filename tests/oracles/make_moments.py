"""Tables of moments and divergences: ``python -m tests.oracles.make_moments [name ...]``.

They stand in ``tests/golden/moments``, one for each law, and in ``tests/golden/divergences``, one
for each pair of laws, as ``q-p``. As in those of densities (``make_laws``) a row has parameters,
rounded to single precision in two rows of three and to double in the others, and by mpmath each
entry of the mean and variance, or the divergence, with its condition number; also the entropies
that take too long for a thousand rows.
"""

import random
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mpmath import mp

from tests.oracles.make_laws import STEP, exact, moved, rounded
from tests.oracles.mp_divergences import DIVERGENCES, Divergence
from tests.oracles.mp_entropies import ENTROPIES
from tests.oracles.mp_matrices import LAWS
from tests.oracles.mp_reference import Draw
from tests.oracles.mp_vector_moments import MOMENTS

FOLDER = Path(__file__).parents[1] / "golden"
ROWS = 90  # at most: a fifth of those of the law's densities, if these are dear
SLOW = 150
LARGEST = sys.float_info.max  # for what no double holds; infinity is what is infinite

Row = dict[str, Any]


def flat(value: Any) -> Iterator[Any]:
    """The numbers of a list of lists, in order."""
    if not isinstance(value, list):
        yield value
        return
    for part in value:
        yield from flat(part)


def like(shape: Any, numbers: Iterator[Any]) -> Any:
    """Numbers in the lists of another value."""
    if isinstance(shape, list):
        return [like(part, numbers) for part in shape]
    return next(numbers)


def held(value: Any) -> float:
    """A number as a double; what is too large is the largest one."""
    if not mp.isfinite(value):
        return float(value)
    return float(max(min(value, mp.mpf(LARGEST)), mp.mpf(-LARGEST)))


def conditions(f: Callable[..., Any], inputs: Row, at: list[Any]) -> list[float]:
    """The condition number of each entry of ``f`` at inputs, with the values it has there."""
    total = [mp.mpf(0)] * len(at)
    for name, value in inputs.items():
        for other in moved(value):
            found = flat(f(**{**inputs, name: other}))
            for i, (there, here) in enumerate(zip(found, at, strict=True)):
                if mp.isfinite(here) and here:
                    total[i] += abs((there - here) / STEP / here)
    return [min(held(v), 1e30) for v in total]


def table(
    name: str, count: int, draw: Callable[[random.Random, Any], Row], functions: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The columns of a table."""
    r = random.Random(name)
    columns: dict[str, list[Any]] = {}
    for row in range(min(count // 5, ROWS)):
        kind = np.float64 if row % 3 == 2 else np.float32
        given = draw(r, kind)
        inputs = {key: exact(value) for key, value in given.items()}
        found = dict(given)
        for what, f in functions.items():
            value = f(**inputs)
            numbers = list(flat(value))
            found[what] = like(value, map(held, numbers))
            found[f"{what}.condition"] = like(value, iter(conditions(f, inputs, numbers)))
        for key, column in found.items():
            columns.setdefault(key, []).append(column)
    return {
        key: np.asarray(column, np.float32 if key.endswith(".condition") else np.float64)
        for key, column in columns.items()
    }


def drawn(params: Mapping[str, Draw], r: random.Random, kind: Any) -> Row:
    """Parameters as a precision holds them, the ends of an interval in order."""
    while True:
        row = {key: rounded(draw(r), kind) for key, draw in params.items()}
        if "high" not in row or row["low"] < row["high"]:
            return row


def between(a: Any, b: Any, share: float) -> Any:
    """A number, or each entry, a share of the way from one to another."""
    if isinstance(a, list):
        return [between(u, v, share) for u, v in zip(a, b, strict=True)]
    return a + share * (b - a)


def near(a: Any, b: Any, r: random.Random) -> Any:
    """A parameter a relative 1e-6 to 0.3 away, on the way to another, which keeps its domain."""
    size = max(abs(v) for v in flat(a))
    span = max(abs(u - v) for u, v in zip(flat(a), flat(b), strict=True))
    width = 10 ** r.uniform(-6, -0.5)
    return between(a, b, min(1.0, width * size / span) if span else 0.0)


def both(pair: tuple[str, str], found: Divergence) -> Callable[[random.Random, Any], Row]:
    """Parameters of two laws: where they have the same, those of p are often near those of q."""
    ways = found.q or LAWS[pair[0]].params, found.p or LAWS[pair[1]].params

    def draw(r: random.Random, kind: Any) -> Row:
        q = drawn(ways[0], r, kind)
        while True:
            p = drawn(ways[1], r, kind)
            if found.near is not None:
                p = {key: rounded(v, kind) for key, v in found.near(r, q).items()}
            elif set(q) == set(p) and r.random() < 0.5:
                p = {key: rounded(near(q[key], v, r), kind) for key, v in p.items()}
            if "high" not in p or p["low"] < p["high"]:
                break
        return {f"q.{k}": v for k, v in q.items()} | {f"p.{k}": v for k, v in p.items()}

    return draw


def parted(f: Callable[[Row, Row], Any]) -> Callable[..., Any]:
    """A function of two laws' parameters as one of those with ``q.`` and ``p.`` in front."""

    def of(**given: Any) -> Any:
        q, p = ({k[2:]: v for k, v in given.items() if k[:2] == of} for of in ("q.", "p."))
        return f(q, p)

    return of


def main(names: list[str]) -> None:
    """Write the tables, all or those named."""
    for name, pair in MOMENTS.items():
        if not names or name in names:
            functions = dict(zip(("mean", "variance"), pair, strict=True))
            functions |= {"entropy": ENTROPIES[name]} if name in ENTROPIES else {}
            law = LAWS[name]
            count = SLOW if name in ENTROPIES else law.rows

            def draw(r: random.Random, kind: Any, params: Any = law.params) -> Row:
                return drawn(params, r, kind)

            write("moments", name, table(name, count, draw, functions))
    for pair, found in DIVERGENCES.items():
        name = "-".join(pair)
        if not names or name in names:
            count = LAWS[pair[0]].rows
            columns = table(name, count, both(pair, found), {"kl": parted(found.f)})
            write("divergences", name, columns)


def write(folder: str, name: str, columns: Mapping[str, np.ndarray]) -> None:
    """One table."""
    (FOLDER / folder).mkdir(parents=True, exist_ok=True)
    np.savez_compressed(FOLDER / folder / f"{name}.npz", **columns)


if __name__ == "__main__":
    main(sys.argv[1:])
