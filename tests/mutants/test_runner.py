"""The runner of mutants: what its tests load is the mutant, and not the package beside them."""

import ast

from tests.mutants.__main__ import drawn, run
from tests.mutants.sites import SOURCE


def test_the_mutant_is_what_is_loaded(tmp_path):
    package = tmp_path / "ancestral"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('a mutant')\n", "utf-8")
    assert run(str(tmp_path), ["tests/contracts/test_bijections.py", "-k", "no_such_test"])


def test_a_mutant_is_another_program_than_its_file():
    for site in drawn(seed=3, count=20):
        before = ast.dump(ast.parse((SOURCE / site.path).read_text("utf-8")))
        assert ast.dump(ast.parse(site.mutated())) != before, site
