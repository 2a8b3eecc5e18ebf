"""Sphinx configuration; `make docs` builds the pages, and a warning is an error.

The pages under docs/api/ are written by this file, one per public package, so that a new name in
an ``__all__`` needs no edit here.
"""

import importlib
import importlib.util
import inspect
import re
from pathlib import Path

from docutils.frontend import get_default_settings
from docutils.parsers.rst import Parser
from docutils.utils import Reporter, new_document
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

import ancestral._version

HERE = Path(__file__).parent
PUBLIC = {
    "ancestral.distributions": "Distribution API",
    "ancestral.losses": "Loss API",
    "ancestral.models": "Model API",
    "ancestral.estimators": "Gradient estimators",
    "ancestral.objectives": "Objectives",
    "ancestral.nn": "Networks",
    "ancestral.bijections": "Bijections",
    "ancestral.samplers": "Samplers",
    "ancestral.diagnostics": "Diagnostics",
    "ancestral.evaluation": "Evaluation",
    "ancestral.bayes": "Bayesian deep learning",
    "ancestral.testing": "Testing your own parts",
    "ancestral.data": "Data",
    "ancestral.report": "Run folders and reports",
}

project = "Ancestral"
author = "The Ancestral developers"
project_copyright = author
version = release = ancestral._version.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "alabaster"
html_theme_options = {"description": "Deep generative models, written as their equations"}
html_show_copyright = False

autodoc_member_order = "bysource"
autodoc_typehints = "none"

NAPOLEON = Config(napoleon_google_docstring=True, napoleon_use_ivar=True)


def write_api_pages(app: Sphinx) -> None:
    """One page for each public package that exists, listing the names of its ``__all__``."""
    folder = HERE / "api"
    folder.mkdir(exist_ok=True)
    pages = {}
    for name, title in PUBLIC.items():
        if importlib.util.find_spec(name) is None:
            continue
        module = importlib.import_module(name)
        if getattr(module, "__all__", None):
            pages[name.split(".")[1] + ".md"] = "\n".join(page(module, title))
    for path in folder.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for file_name, text in pages.items():
        path = folder / file_name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def page(module: object, title: str) -> list[str]:
    """The MyST source of one page."""
    name = module.__name__
    lines = [f"# {title}: `{name}`", "", "```{eval-rst}", f".. automodule:: {name}", ""]
    for each in module.__all__:
        thing = getattr(module, each)
        if inspect.isclass(thing):
            lines += [f".. autoclass:: {name}.{each}", "   :members:", ""]
        elif inspect.isroutine(thing):
            lines += [f".. autofunction:: {name}.{each}", ""]
        else:
            lines += [f".. py:data:: {name}.{each}", ""]
    return [*lines, "```", ""]


def show_docstring(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """A docstring is markup where it reads as markup, and else is shown as it is written.

    Formulas in Unicode, `p(x|z)` or `|x|*y`, are plain text to a reader and broken markup to
    Sphinx: such a docstring is set as a literal block instead of being bent to the tool.
    """
    if not any(line.strip() for line in lines):
        return
    marked = GoogleDocstring(list(lines), NAPOLEON, app, what, name, obj, options).lines()
    if reads_as_markup(marked):
        lines[:] = marked
    else:
        lines[:] = ["::", "", *(f"   {line}" for line in lines), ""]


def reads_as_markup(lines: list[str]) -> bool:
    """Whether docutils has nothing to say, with the text nested as it will be."""
    nested = [".. container::", "", *(f"   {line}" for line in lines), ""]
    text = re.sub(
        r":(?:class|func|meth|mod|attr|data|exc|obj):`[^`]+`", "``name``", "\n".join(nested)
    )
    settings = get_default_settings(Parser)
    settings.report_level, settings.halt_level = Reporter.SEVERE_LEVEL + 1, 5
    document = new_document("docstring", settings)
    said = []
    document.reporter.attach_observer(lambda message: said.append(message["level"]))
    try:
        Parser().parse(text, document)
    except Exception:
        return False  # a directive that needs Sphinx around it
    return max(said, default=0) < Reporter.WARNING_LEVEL


def drop_empty_lists(app: Sphinx, docname: str, source: list[str]) -> None:
    """Leave a list of pages out while its folder has none; Sphinx would warn of it."""
    for block in re.findall(r"```\{toctree\}\n(?:.+\n|\n)*?```\n", source[0]):
        folder = re.search(r"^(\w+)/\*$", block, re.MULTILINE)
        if folder and not any((HERE / folder[1]).glob("*.md")):
            source[0] = source[0].replace(block, "")


def setup(app: Sphinx) -> None:
    """What Sphinx calls first."""
    app.connect("builder-inited", write_api_pages)
    app.connect("source-read", drop_empty_lists)
    app.connect("autodoc-process-docstring", show_docstring)
