"""The names that users may rely on, with their signatures, are those of a golden file.

A public package lists its names in ``__all__``; ``tests/golden/public_api.txt`` holds every name,
the parameters with their defaults, and the public methods of each class. A difference is either a
slip or a change of interface that belongs in CHANGELOG.md; ``make golden`` accepts it.
Annotations are left out: the type checker holds them, and their text differs between Pythons.
"""

import difflib
import enum
import importlib
import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden" / "public_api.txt"
PUBLIC = [
    "ancestral",
    "ancestral.distributions",
    "ancestral.losses",
    "ancestral.models",
    "ancestral.nn",
    "ancestral.evaluation",
    "ancestral.testing",
    "ancestral.data",
    "ancestral.report",
]
# Public as soon as they say what they offer.
MAY_BE_PUBLIC = [
    "ancestral.estimators",
    "ancestral.objectives",
    "ancestral.bijections",
    "ancestral.samplers",
    "ancestral.diagnostics",
    "ancestral.bayes",
]


def existing() -> list[str]:
    """The public packages that there are."""
    return [name for name in PUBLIC if _source(name)] + [
        name for name in MAY_BE_PUBLIC if "__all__" in _source(name)
    ]


def _source(module: str) -> str:
    """The text of a module or of a package's ``__init__``; nothing if there is none."""
    path = ROOT.joinpath("src", *module.split("."))
    files = [path / "__init__.py", path.with_suffix(".py")]
    return next((file.read_text("utf-8") for file in files if file.exists()), "")


def describe(package: types.ModuleType) -> Iterator[str]:
    """The lines of the golden file on one package; other packages' classes are named only once."""
    yield f"[{package.__name__}]"
    for name in sorted(package.__all__):
        yield from _describe_name(package, name)


def _describe_name(package: types.ModuleType, name: str) -> Iterator[str]:
    thing = getattr(package, name)
    home = getattr(thing, "__module__", "") or ""
    if package.__name__ == "ancestral" and _offered_elsewhere(thing, name):
        yield f"{name}: see {_offered_elsewhere(thing, name)}"
    elif getattr(thing, "__name__", name).split(".")[-1] != name:
        yield f"{name} = {thing.__name__}"
    elif inspect.isclass(thing):
        bases = ", ".join(base.__name__ for base in thing.__bases__ if base is not object)
        yield f"class {name}({bases})" if bases else f"class {name}"
        if home.split(".")[0] == "ancestral":
            yield from (f"    {line}" for line in sorted(set(_members(thing))))
    elif isinstance(thing, types.ModuleType):
        yield f"module {name}"
    elif callable(thing):
        yield f"{name}{signature(thing)}"
    else:
        yield f"{name}: {type(thing).__name__}"


def _offered_elsewhere(thing: object, name: str) -> str | None:
    """The public package below ``ancestral`` that offers the same object by the same name."""
    for other in existing()[1:]:
        module = importlib.import_module(other)
        if name in getattr(module, "__all__", ()) and getattr(module, name) is thing:
            return other
    return None


def _members(cls: type) -> Iterator[str]:
    """Constructor, methods and properties that ancestral's own classes give to a class.

    What a public base class gives is listed there, and not again here.
    """
    yield f"{cls.__name__}{signature(cls)}"
    for base in cls.__mro__:
        ours = base.__module__.split(".")[0] == "ancestral"
        if not ours or (base is not cls and _is_public(base)):
            continue
        for name, member in vars(base).items():
            if not name.startswith("_"):
                yield from _describe_member(cls, name, member)


def _describe_member(cls: type, name: str, member: object) -> Iterator[str]:
    if isinstance(member, property):
        yield f"{name}: property"
    elif isinstance(member, staticmethod | classmethod) or inspect.isroutine(member):
        yield f"{name}{signature(getattr(cls, name))}"
    elif isinstance(cls, enum.EnumMeta) and isinstance(member, cls):
        yield f"{name}: member"


def _is_public(cls: type) -> bool:
    return any(
        cls.__name__ in getattr(module, "__all__", ()) and getattr(module, cls.__name__) is cls
        for module in map(importlib.import_module, existing())
    )


def signature(thing: object) -> str:
    """Parameters and defaults, without annotations and without addresses in memory."""
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return "(...)"
    bare = [
        parameter.replace(annotation=parameter.empty) for parameter in found.parameters.values()
    ]
    text = str(found.replace(parameters=bare, return_annotation=found.empty))
    return re.sub(r"<(\w+) (\S+)(?: of .*?)? at 0x[0-9a-f]+>", r"<\1 \2>", text)


def whole() -> str:
    """The golden file's text."""
    packages = [importlib.import_module(name) for name in existing()]
    lists = [package for package in packages if hasattr(package, "__all__")]
    return "\n".join("".join(f"{line}\n" for line in describe(package)) for package in lists)


def test_public_names_and_signatures():
    golden, now = GOLDEN.read_text("utf-8") if GOLDEN.exists() else "", whole()
    diff = difflib.unified_diff(golden.splitlines(), now.splitlines(), "golden", "now", n=0)
    told = "\nthe public interface changed; if that is meant: CHANGELOG.md and `make golden`\n"
    assert now == golden, told + "\n".join(diff)


@pytest.mark.parametrize("name", existing())
def test_package_lists_its_names(name):
    package = importlib.import_module(name)
    assert hasattr(package, "__all__"), f"{name} is public: list its names in __all__"
    names = package.__all__
    assert len(set(names)) == len(names), "a name is listed twice"
    for each in names:
        thing = getattr(package, each)
        assert each in dir(package), f"{each} is lazy: let __dir__ list it"
        if inspect.isclass(thing) or inspect.isroutine(thing):
            assert inspect.getdoc(thing), f"{name}.{each} has no docstring"


def test_signatures_are_plain():
    def function(a: int, /, b: "str" = "x", *c: int, d: object = len, **e: int) -> None:
        """Many kinds of parameters."""

    assert signature(function) == "(a, /, b='x', *c, d=<built-in function len>, **e)"
    assert signature(lambda x, f=signature: x) == "(x, f=<function signature>)"


def test_class_lists_its_own_and_its_private_bases():
    class Base:
        def inherited(self, x: int) -> int:
            """Public."""

        def _hidden(self): ...

    class Law(Base):
        def __init__(self, *, name: str = "p"): ...

        @property
        def var(self): ...

        @classmethod
        def build(cls, x): ...

    Base.__module__ = Law.__module__ = "ancestral.planted"
    lines = sorted(_members(Law))
    assert lines == ["Law(*, name='p')", "build(x)", "inherited(self, x)", "var: property"]


if __name__ == "__main__" and "--write" in sys.argv:
    GOLDEN.write_text(whole(), "utf-8")
