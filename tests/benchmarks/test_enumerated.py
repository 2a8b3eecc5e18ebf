"""The benchmark of exact enumeration times steps that are equal, in values and gradients."""

from benchmarks import enumerated


def test_the_steps_are_equal() -> None:
    enumerated.check_equal(lambda: enumerated.latent_class(6, 9, 8, 3))
    enumerated.check_equal(lambda: enumerated.markov_chain(4, 5, 3))
