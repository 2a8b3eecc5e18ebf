"""The house has floors, and imports go down the stairs.

Every file under ``src/ancestral`` is parsed, none is run. A folder imports from lower floors and
from itself; folders on one floor do not import each other. Sugar that reaches up, such as
``p.log_prob()`` and ``loss.eval()``, is a method whose body is late imports and one return, in two
files only; ``tests/golden/late_imports.txt`` lists these methods. Elsewhere no function imports
ancestral, but for the command line and the lazy ``__getattr__`` of a package.

Besides: nothing is unpickled or evaluated from text, no file is long, torchvision and the extras
are not needed for import. ``python -m tests.test_floors --write`` renews the golden file.
"""

import ast
import sys
import tomllib
from pathlib import Path

import pytest

from tests.floors import BROUGHT, LONGEST, check

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "ancestral"
GOLDEN = ROOT / "tests" / "golden" / "late_imports.txt"


def sources() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def core_modules() -> frozenset[str]:
    """Import names of the core dependencies in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = [text.split(">")[0].split("[")[0].lower() for text in project["dependencies"]]
    return frozenset(names) | BROUGHT


def late_imports() -> str:
    """The lines of the golden file."""
    lines = []
    for path in sources():
        lines += check(path.relative_to(SOURCE).as_posix(), path.read_text("utf-8")).late
    return "".join(f"{line}\n" for line in sorted(lines))


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_file_keeps_to_its_floor(path):
    file = check(path.relative_to(SOURCE).as_posix(), path.read_text("utf-8"), core_modules())
    assert not file.violations, "\n" + "\n".join(file.violations)


def test_late_imports_are_those_listed():
    golden = GOLDEN.read_text("utf-8") if GOLDEN.exists() else ""
    assert late_imports() == golden, "sugar changed; if that is meant, run `make golden`"


def test_oracles_import_nothing_of_ours():
    for path in sorted((ROOT / "tests" / "oracles").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")]
            names += [getattr(node, "module", None) or ""] if hasattr(node, "module") else []
            assert not any(name.split(".")[0] == "ancestral" for name in names), path


# -- and the tests of the checker: each violation, planted ---------------------------------------

PLANTED = {
    "imports upward": ("core/names.py", "from ancestral.losses import E"),
    "imports upward, plain": ("core/names.py", "import ancestral.losses.prob"),
    "imports upward, by name": ("losses/node.py", "from ancestral import lowering"),
    "imports upward, relative": ("losses/node.py", "from ..lowering.draws import assign"),
    "imports upward, deep relative": ("samplers/mcmc/hmc.py", "from ...losses import node"),
    "imports a neighbour": ("losses/node.py", "from ancestral.program import Step"),
    "imports a neighbouring file": ("data/mnist.py", "from ancestral.testing import contract"),
    "imports upward, under a condition": ("core/x.py", "if True:\n    import ancestral.models"),
    "imports upward, in a try": ("core/x.py", "try:\n    import ancestral.models\nexcept E: ..."),
    "imports upward, in a class": ("core/x.py", "class A:\n    import ancestral.models"),
    "upward types": (
        "losses/node.py",
        "if TYPE_CHECKING:\n    from ancestral.models import Model",
    ),
    "upward beside types": (
        "losses/sugar.py",
        "if TYPE_CHECKING:\n    import torch\nelse:\n    from ancestral.models import Model",
    ),
    "imports the zoo": ("models/model.py", "from ancestral.zoo.vae import build"),
    "imports the facade": ("models/model.py", "import ancestral as an"),
    "imports the facade's name": ("models/model.py", "from ancestral import Model"),
    "imports what stands nowhere": ("zoo/vae.py", "from ancestral.utils import helper"),
    "stands nowhere": ("utils/helper.py", "import math"),
    "file that stands nowhere": ("helper.py", "import math"),
    "facade imports at once": ("__init__.py", "from ancestral.models import Model"),
    "late import": ("models/model.py", "def f():\n    from ancestral.core import names"),
    "late import in a method": (
        "losses/node.py",
        "class A:\n    def f(self):\n        from ancestral.core import names",
    ),
    "late import in __getattr__ of no package": (
        "losses/node.py",
        "def __getattr__(name):\n    from ancestral.models import Model\n    return Model",
    ),
    "late import beside __getattr__": (
        "losses/__init__.py",
        "def f():\n    from ancestral.models import Model\n    return Model",
    ),
    "sugar that is a function": (
        "losses/sugar.py",
        "def f(x):\n    from ancestral.models import Model\n    return Model(x)",
    ),
    "sugar that does something": (
        "losses/sugar.py",
        "class A:\n    def f(self):\n        from ancestral.models import Model\n"
        "        y = Model(self)\n        return y",
    ),
    "sugar without a return": (
        "distributions/base.py",
        "class A:\n    def f(self):\n        from ancestral.models import Model\n        Model()",
    ),
    "sugar within a function within a method": (
        "distributions/base.py",
        "class A:\n    def f(self):\n        def g():\n"
        "            from ancestral.models import Model\n            return Model\n"
        "        return g",
    ),
    "torchvision": ("data/cifar.py", "def f():\n    from torchvision import transforms"),
    "pickle": ("models/save.py", "import pickle"),
    "joblib": ("models/save.py", "from joblib import load"),
    "yaml": ("cli/config.py", "def f():\n    import yaml"),
    "torch.load": ("models/save.py", "w = torch.load(path, weights_only=True)"),
    "torch.load by name": ("models/save.py", "from torch import load"),
    "numpy's pickle": ("data/mnist.py", "x = np.load(path, allow_pickle=True)"),
    "exec": ("runtime/interpret.py", "exec(text)"),
    "exec by another name": ("runtime/interpret.py", "run = exec"),
    "eval": ("runtime/source.py", "value = eval(text)"),
    "compile": ("runtime/interpret.py", "code = compile(text, 'x', 'exec')"),
    "builtins.exec": ("runtime/interpret.py", "import builtins\nbuiltins.exec(text)"),
    "exec from builtins": ("runtime/interpret.py", "from builtins import exec as run"),
    "__import__": ("models/save.py", "m = __import__(name)"),
    "import_module": ("models/save.py", "import importlib\nm = importlib.import_module(name)"),
    "import_module by name": ("models/save.py", "from importlib import import_module as get"),
    "a long file": ("nn/resnet.py", "x = 1\n" * (LONGEST + 1)),
    "an extra on import": ("data/digits.py", "from sklearn.datasets import load_digits"),
}

HONEST = {
    "downward": ("lowering/share.py", "from ancestral.losses.node import Node\nimport torch"),
    "itself": ("losses/prob.py", "from .node import Node\nfrom ancestral.losses import scope"),
    "own package": ("samplers/mcmc/hmc.py", "from . import nuts\nfrom .. import state"),
    "the version": ("report/manifest.py", "from ancestral._version import __version__"),
    "the facade, in the zoo": ("zoo/vae.py", "import ancestral as an"),
    "lazy package": (
        "losses/__init__.py",
        "def __getattr__(name):\n    from ancestral.objectives import mmd\n    return mmd.MMD",
    ),
    "lazy facade": (
        "__init__.py",
        "from ancestral._version import __version__\nimport importlib\nif TYPE_CHECKING:\n"
        "    from ancestral.models import Model\ndef __getattr__(name):\n"
        "    return getattr(importlib.import_module(WHERE[name]), name)",
    ),
    "sugar": (
        "losses/sugar.py",
        "class A:\n    def eval(self, x):\n        'Its value.'\n"
        "        from ancestral.lowering import lower\n        from ancestral.runtime import run\n"
        "        return run(lower(self), x)",
    ),
    "types of sugar": (
        "distributions/base.py",
        "if TYPE_CHECKING:\n    from ancestral.losses.prob import LogProb",
    ),
    "the command line, late": ("cli/train.py", "def f():\n    from ancestral.zoo import vae"),
    "exec where it belongs": ("runtime/source.py", "exec(compile(text, name, 'exec'), space)"),
    "evaluation mode": ("models/model.py", "net.eval()\nloss.eval(x)\nre.compile(text)"),
    "an extra where it is used": ("data/digits.py", "def f():\n    import sklearn.datasets"),
    "bytes of arrays": ("data/mnist.py", "x = np.load(path, allow_pickle=False)"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_checker_sees(name):
    assert check(*PLANTED[name], core_modules()).violations


@pytest.mark.parametrize("name", HONEST)
def test_checker_lets_pass(name):
    assert check(*HONEST[name], core_modules()).violations == []


def test_checker_lists_sugar():
    assert check(*HONEST["sugar"]).late == [
        "losses/sugar.py: A.eval imports ancestral.lowering",
        "losses/sugar.py: A.eval imports ancestral.runtime",
    ]


if __name__ == "__main__" and "--write" in sys.argv:
    GOLDEN.write_text(late_imports(), "utf-8")
