"""Plant bugs and see them caught: ``python -m tests.mutants [--seed 0] [--count 50] [--jobs 2]``,
or ``--only "normal.py:61"`` for the sites whose line has these words.

Each mutant is a copy of the package with one thing changed, at a place drawn by the seed. The tests
of its kind, which all pass on the package itself, run against it until the first that fails. Exit
status 1 if more than one of fifty survives, or its tests do not come to an end in time; survivors
are printed with their place.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.sites import SOURCE, Site, sites

ROOT = SOURCE.parents[1]
LIMIT = 1500  # seconds for the tests of one mutant
TESTS = {
    "distributions": [
        "tests/contracts/test_distributions.py",
        "tests/contracts/test_law_table.py",
        "tests/distributions",
    ],
    "bijections": ["tests/contracts/test_bijections.py"],
    "lowering": [
        "tests/lowering",
        "tests/contracts/test_estimators.py",
        "tests/estimators",
        "tests/sentences",
        "tests/models",
        "tests/errors",
        "tests/expressions",
        "tests/distributions",
    ],
    "objectives": [
        "tests/objectives",
        "tests/estimators",
        "tests/sentences",
        "tests/models",
        "tests/zoo",
    ],
}


def drawn(seed: int, count: int) -> list[Site]:
    """Sites by the seed: first a file, then a place in it, so that long files are not all."""
    by_file: dict[str, list[Site]] = {}
    for site in sites():
        by_file.setdefault(site.path, []).append(site)
    r = random.Random(seed)
    chosen: list[Site] = []
    while len(chosen) < count:
        site = r.choice(by_file[r.choice(sorted(by_file))])
        if site not in chosen:
            chosen.append(site)
    return chosen


def failing_test(site: Site) -> str | None:
    """The first test that notices, or ``None``; a mutant that cannot be imported is noticed.

    Tests that name a class of the file, or else the file, come first: the likeliest to notice.
    """
    paths = [t for t in TESTS[site.path.split("/")[0]] if (ROOT / t).exists()]
    tree = ast.parse((SOURCE / site.path).read_text("utf-8"))
    names = [n.name for n in tree.body if isinstance(n, ast.ClassDef) and n.name[0] != "_"]
    names = names or [Path(site.path).stem.removesuffix("s")]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(SOURCE, Path(folder) / "ancestral")
        (Path(folder) / "ancestral" / site.path).write_text(site.mutated(), "utf-8")
        return run(folder, [*paths, "-k", " or ".join(names)]) or run(folder, paths)


def run(folder: str, arguments: list[str]) -> str | None:
    """The first test that fails with the package in a folder."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-n", "0"]
    command += [
        "-o",
        f"pythonpath={folder} {ROOT}",
    ]  # the project's own names src, which would win
    command += ["-m", "not slow and not gpu", *arguments]
    environment = {**os.environ, "PYTHONPATH": folder, "OMP_NUM_THREADS": "1"}
    environment["ANCESTRAL_TEST_LIMIT"] = "0"
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode in (0, 5):  # 5: no test has such a name
        return None
    lines = done.stdout.splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return (failed or lines[-1:] or ["pytest stopped"])[0].split(" - ")[0]


def main() -> int:
    """Print a line for each mutant, and the score."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", help="these sites in place of drawn ones")
    options = parser.parse_args()
    chosen = drawn(options.seed, options.count)
    if options.only:
        chosen = [site for site in sites() if options.only in str(site)]
    started = time.perf_counter()
    survivors = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for site, caught in zip(chosen, pool.map(failing_test, chosen), strict=True):
            sys.stdout.write(f"{'caught  ' if caught else 'SURVIVES'}  {site}  {caught or ''}\n")
            sys.stdout.flush()
            survivors += [] if caught else [site]
    minutes = (time.perf_counter() - started) / 60
    told = f"{len(chosen) - len(survivors)} of {len(chosen)} caught in {minutes:.0f} min"
    sys.stdout.write(f"seed {options.seed}: {told}\n")
    return int(len(survivors) > len(chosen) // 50)


if __name__ == "__main__":
    sys.exit(main())
