"""What a file of the library may import and do: the checker that tests/test_floors.py runs.

A folder imports from lower floors and from itself; folders on one floor do not import each other.
A file is read and parsed, never run.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

FLOORS = {
    **dict.fromkeys(["_version", "core"], 0),
    **dict.fromkeys(["nn", "diagnostics"], 1),
    **dict.fromkeys(["bijections", "samplers"], 2),
    **dict.fromkeys(["distributions"], 3),
    **dict.fromkeys(["losses", "program"], 4),
    **dict.fromkeys(["printing", "estimators", "runtime"], 5),
    **dict.fromkeys(["objectives", "lowering"], 6),
    **dict.fromkeys(["models"], 7),
    **dict.fromkeys(["bayes", "evaluation", "testing", "data", "report"], 8),
    **dict.fromkeys(["zoo"], 9),
    **dict.fromkeys(["cli"], 10),
    **dict.fromkeys(["__main__"], 11),
}
FACADE = 8  # `import ancestral as an`, the lazy face of all of it, is for zoo and cli

SUGAR = {"distributions/base.py", "losses/sugar.py"}
GENERATOR = "runtime/source.py"  # the one file where text becomes code
LONGEST = 400
UNPICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
BANNED_MODULES = UNPICKLERS | {"yaml", "torchvision", "runpy"}
BANNED_CALLS = {
    ("torch", "load"): "unpickles; weights are safetensors",
    ("torch", "save"): "pickles; weights are safetensors",
    ("builtins", "exec"): "runs text",
    ("builtins", "eval"): "runs text",
    ("__builtins__", "exec"): "runs text",
    ("__builtins__", "eval"): "runs text",
}
BROUGHT = {"markupsafe"}  # part of the interface of jinja2
LEAVES = (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop, ast.Constant)
Found = tuple[ast.AST, tuple[ast.AST, ...]]  # a node, and what it stands in


@dataclass
class File:
    """What one file does that it should not, and the late imports that it may have."""

    path: str  # below src/ancestral, with "/"
    violations: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)

    @property
    def folder(self) -> str:
        """The name in the layout: `losses` for losses/prob.py, `testing` for testing.py."""
        return self.path.split("/")[0].removesuffix(".py")

    @property
    def is_root(self) -> bool:
        return self.path == "__init__.py"

    @property
    def is_package(self) -> bool:
        return self.path.endswith("__init__.py")

    def blame(self, node: ast.AST, text: str) -> None:
        self.violations.append(f"{self.path}:{getattr(node, 'lineno', 1)}: {text}")


def check(path: str, source: str, core: frozenset[str] | None = None) -> File:
    """All that is wrong with one file.

    Args:
        path: Where the file stands below ``src/ancestral``.
        source: Its text.
        core: Names of the modules that the core dependencies provide; None: not checked.
    """
    file = File(path)
    tree = ast.parse(source)
    if not file.is_root and file.folder not in FLOORS:
        file.blame(tree, f"{file.folder} stands on no floor: give it one in tests/floors.py")
        return file
    length = len(source.splitlines())
    if length > LONGEST:
        file.blame(tree, f"{length} lines; the limit is {LONGEST}: split it by what it holds")
    found = list(_walk(tree))
    _check_imports(file, found, core)
    _check_names(file, found)
    return file


# -- imports ---------------------------------------------------------------------------------


def _check_imports(file: File, found: list[Found], core: frozenset[str] | None) -> None:
    for node, parents in found:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        functions = [p for p in parents if isinstance(p, ast.FunctionDef | ast.AsyncFunctionDef)]
        functions += [p for p in parents if isinstance(p, ast.Lambda)]
        typing_only = any(_is_type_checking(parent) for parent in parents)
        for module in _modules(file, node):
            first = module.split(".")[0]
            if first in BANNED_MODULES:
                file.blame(node, f"imports {first}")
            elif first == "ancestral":
                if functions:
                    _check_late(file, node, module, parents)
                else:
                    _check_floor(file, node, module, typing_only)
            elif core is not None and not functions and not typing_only:
                _check_third_party(file, node, first, core)


def _check_floor(file: File, node: ast.AST, module: str, typing_only: bool) -> None:
    target = _folder(module)
    if file.is_root:
        if target != "_version" and not typing_only:
            file.blame(node, f"`import ancestral` would run {module}: import it in __getattr__")
        return
    if typing_only and (file.path in SUGAR or file.is_package):
        return  # the types that late imports return, and that a lazy package offers
    if target is None:
        if FLOORS[file.folder] <= FACADE:
            file.blame(node, "imports the package itself; name the module that is meant")
    elif target not in FLOORS:
        file.blame(node, f"imports {module}, which stands on no floor")
    elif target != file.folder and FLOORS[target] >= FLOORS[file.folder]:
        mine, theirs = FLOORS[file.folder], FLOORS[target]
        file.blame(node, f"{file.folder} (floor {mine}) imports {module} (floor {theirs})")


def _check_late(file: File, node: ast.AST, module: str, parents: tuple[ast.AST, ...]) -> None:
    if file.folder == "cli" or file.is_root or _is_lazy(file, parents):
        return
    if file.path not in SUGAR:
        file.blame(node, f"a function imports {module}; only {', '.join(sorted(SUGAR))} may")
    elif not _is_one_line_method(parents):
        file.blame(node, f"imports {module} in what is not a method of imports and one return")
    else:
        method = ".".join(parent.name for parent in parents)
        file.late.append(f"{file.path}: {method} imports {module}")


def _is_one_line_method(parents: tuple[ast.AST, ...]) -> bool:
    """A method whose body, docstring aside, is late imports and one return."""
    if len(parents) != 2 or not isinstance(parents[0], ast.ClassDef):
        return False
    method = parents[1]
    if not isinstance(method, ast.FunctionDef):
        return False
    body = method.body[1:] if ast.get_docstring(method) is not None else method.body
    *imports, last = body
    return isinstance(last, ast.Return) and all(
        isinstance(statement, ast.Import | ast.ImportFrom) for statement in imports
    )


def _is_lazy(file: File, parents: tuple[ast.AST, ...]) -> bool:
    """Inside the module-level ``__getattr__`` of a package's ``__init__``."""
    return (
        file.is_package
        and bool(parents)
        and isinstance(parents[0], ast.FunctionDef)
        and parents[0].name == "__getattr__"
    )


def _check_third_party(file: File, node: ast.AST, first: str, core: frozenset[str]) -> None:
    if first not in core and first not in sys.stdlib_module_names:
        file.blame(node, f"needs {first} on import; an extra is imported where it is used")


def _modules(file: File, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Absolute names of what an import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    module = node.module or ""
    if node.level:
        here = ["ancestral", *file.path.split("/")[:-1]]
        base = here[: len(here) - node.level + 1]
        module = ".".join([*base, module] if module else base)
    if module == "ancestral":  # `from ancestral import losses`: a folder, or a name of the facade
        for alias in node.names:
            yield f"ancestral.{alias.name}" if alias.name in FLOORS else "ancestral"
    else:
        yield module


def _folder(module: str) -> str | None:
    """`losses` for ``ancestral.losses.prob``; None for ``ancestral``."""
    return module.split(".")[1] if "." in module else None


def _is_type_checking(node: ast.AST) -> bool:
    test = ast.unparse(node.test) if isinstance(node, ast.If) else ""
    return test in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _walk(tree: ast.AST) -> Iterator[Found]:
    """Every node with the scopes and conditions that it stands in, outermost first."""
    scopes = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    waiting: list[Found] = [(tree, ())]
    while waiting:
        node, parents = waiting.pop()
        yield node, parents
        otherwise: list[ast.stmt] = []  # what runs where the types are not checked
        inside = (*parents, node) if isinstance(node, scopes) else parents
        if isinstance(node, ast.If) and _is_type_checking(node):
            inside, otherwise = (*parents, node), node.orelse
        below = [child for child in ast.iter_child_nodes(node) if not isinstance(child, LEAVES)]
        waiting += [(c, parents if c in otherwise else inside) for c in reversed(below)]


# -- text that runs, and bytes that run --------------------------------------------------------


def _check_names(file: File, found: list[Found]) -> None:
    generator = file.path == GENERATOR
    banned = {"__import__", "eval"} if generator else {"__import__", "eval", "exec"}
    for node, parents in found:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            if node.id in banned:
                file.blame(node, f"uses {node.id}")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            why = BANNED_CALLS.get((node.value.id, node.attr))
            if why:
                file.blame(node, f"uses {node.value.id}.{node.attr}, which {why}")
        if isinstance(node, ast.Call):
            _check_call(file, node, parents, generator)
        if isinstance(node, ast.ImportFrom):
            _check_import_of_names(file, node)


def _check_call(file: File, node: ast.Call, parents: tuple[ast.AST, ...], generator: bool) -> None:
    name = ast.unparse(node.func)
    if name == "compile" and not generator:
        file.blame(node, "compiles text")
    if name.split(".")[-1] == "import_module":
        if not (file.folder == "cli" or _is_lazy(file, parents)):
            file.blame(node, "calls import_module; write an import statement")
    for keyword in node.keywords:
        if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
            file.blame(node, f"{name} may unpickle")


def _check_import_of_names(file: File, node: ast.ImportFrom) -> None:
    for alias in node.names:
        why = BANNED_CALLS.get((node.module or "", alias.name))
        if why:
            file.blame(node, f"imports {alias.name} of {node.module}, which {why}")
        if alias.name == "import_module" and not (file.is_package or file.folder == "cli"):
            file.blame(node, "imports import_module; write an import statement")
