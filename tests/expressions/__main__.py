"""Check random expressions: ``python -m tests.expressions --seeds 0:10000``."""

import argparse
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.expressions.run import double_precision, failures


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 if an expression failed; each failure is printed with its seed."""
    parser = argparse.ArgumentParser(prog="python -m tests.expressions", description=__doc__)
    parser.add_argument("--seeds", default="0:1000", help="A:B, from A up to but without B")
    parser.add_argument("--most", type=int, default=10, help="stop after so many failures")
    parser.add_argument("--record", type=Path, help="a file that a clean range is added to")
    options = parser.parse_args(arguments)
    first, last = map(int, options.seeds.split(":"))
    seen: Counter[bool] = Counter()
    wrong = 0
    started = time.process_time()
    with double_precision():
        for failure in failures(range(first, last), lambda ok: seen.update([ok])):
            wrong += 1
            sys.stdout.write(f"{failure}\n\n")
            if wrong >= options.most:
                break
    total = sum(seen.values()) + wrong
    each = 1e3 * (time.process_time() - started) / max(total, 1)
    sys.stdout.write(
        f"seeds {options.seeds}: {total} expressions, {seen[True]} valid and right, {wrong} wrong; "
        f"{each:.1f} ms of processor time each\n"
    )
    if options.record and not wrong:
        with options.record.open("a", encoding="utf-8") as file:
            file.write(
                f"{options.seeds}  {seen[True]} valid  torch {torch.__version__}  {_state()}\n"
            )
    return 1 if wrong else 0


def _state() -> str:
    """The state of the code: git's short name of it."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
