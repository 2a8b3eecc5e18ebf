"""Check random expressions: ``python -m tests.expressions --seeds 0:10000``."""

import argparse
import sys
import time
from collections import Counter

from tests.expressions.run import double_precision, failures


def main() -> int:
    """Exit status 1 if an expression failed; each failure is printed with its seed."""
    parser = argparse.ArgumentParser(prog="python -m tests.expressions", description=__doc__)
    parser.add_argument("--seeds", default="0:1000", help="A:B, from A up to but without B")
    parser.add_argument("--most", type=int, default=10, help="stop after so many failures")
    options = parser.parse_args()
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
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
