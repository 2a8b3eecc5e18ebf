"""What holds for every test: one thread, a fixed seed, and a limit on its processor time.

A test that takes more than ``ANCESTRAL_TEST_LIMIT`` seconds (5, if not set; 0 switches it off) and
is not marked ``slow`` fails. What is counted is processor time of the test's own call, in the pace
of the machine, so that a busy machine, a sleeping disk or a slow fixture fails nobody. Child
processes have as much again, since each may have to import torch before it begins.
"""

import os
import sys
from collections.abc import Iterator

# Before torch is imported: two workers with two threads each on two cores slow each other down.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

SPENT = pytest.StashKey[float]()


def processor_seconds() -> tuple[float, float]:
    """Processor time of this process, and of the children that it has waited for."""
    times = os.times()
    return times.user + times.system, times.children_user + times.children_system


def pace() -> float:
    """How much slower the machine is now than one that sums a million squares in 0.15 s."""
    started = sum(processor_seconds())
    sum(i * i for i in range(10**6))
    return max(1.0, (sum(processor_seconds()) - started) / 0.15)


def limit() -> float:
    """Seconds of processor time that a test not marked slow may take; 0 is no limit."""
    return float(os.environ.get("ANCESTRAL_TEST_LIMIT", "5"))


@pytest.fixture(scope="session")
def compiler_is_imported() -> None:
    """What torch imports when it first compiles takes seconds; no test is charged for it."""
    import torch

    weight = torch.zeros(1, requires_grad=True)
    torch.compile(torch.exp, backend="aot_eager")(weight).backward()


class EveryTest:
    """Registered as a plugin, so that it reaches the doctests under src/ as well."""

    @pytest.fixture(autouse=True)
    def _fixed_seed(self) -> Iterator[None]:
        """Each test starts from seed 0 and leaves torch's default dtype as it was."""
        if (torch := sys.modules.get("torch")) is None:
            yield
            return
        torch.manual_seed(0)
        dtype = torch.get_default_dtype()
        yield
        torch.set_default_dtype(dtype)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        started = processor_seconds()
        try:
            return (yield)
        finally:
            own, children = (
                now - then for now, then in zip(processor_seconds(), started, strict=True)
            )
            item.stash[SPENT] = own + max(0.0, children - limit())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]):
        report = yield
        spent, allowed = item.stash.get(SPENT, 0.0), limit()
        unmarked = item.get_closest_marker("slow") is None
        counts = call.when == "call" and report.passed and unmarked
        if counts and 0 < allowed < spent and allowed * pace() < spent:
            report.outcome = "failed"
            report.longrepr = (
                f"{item.nodeid} passed, but took {spent:.1f} s of processor time, more than the "
                f"{allowed:g} s that a test may take.\nMake it smaller, run it in chunks, or mark "
                "it @pytest.mark.slow. (ANCESTRAL_TEST_LIMIT sets the limit, 0 switches it off.)"
            )
        return report

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Tests marked gpu are skipped where there is no accelerator."""
        if item.get_closest_marker("gpu"):
            import torch

            if not torch.accelerator.is_available():
                pytest.skip("needs an accelerator")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(EveryTest(), "ancestral-every-test")
