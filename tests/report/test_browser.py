"""What a browser makes of the page: formulas are drawn, nothing is asked for, nothing runs.

Needs Playwright's Python package and a Chromium on the path (Debian: ``apt install chromium``); it
downloads none.
"""

import shutil
from types import SimpleNamespace

import pytest
from markupsafe import Markup

from ancestral.report import Page, write_page
from tests.printing import expressions

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the path")

EVIL = "<img src=https://example.com/x.png onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def seen(browser, tmp_path_factory):
    """A page with every formula and graph, hostile ones too, and what the browser said of it."""
    losses = [*expressions.known().values(), *map(expressions.hostile, expressions.HOSTILE)]
    readable = [*losses, *expressions.laws().values()]
    graphs = "".join(loss.graph() for loss in losses)
    path = tmp_path_factory.mktemp("page") / "report.html"
    content = Page(
        title=EVIL, data=EVIL, date="2026-01-01", equation=EVIL, latex=EVIL, program=EVIL,
        mathml=Markup(losses[0].mathml()), laws=[Markup(it.mathml()) for it in readable],
        graph=Markup(graphs), source=EVIL, curves={EVIL: [(1, 2.0), (2, 1.0)]},
        settings={EVIL: {EVIL: EVIL}}, notes=[EVIL],
    )  # fmt: skip
    write_page(content, path)
    said = SimpleNamespace(console=[], requests=[], dialogs=[], errors=[], formulas=len(readable))
    tab = browser.new_page()
    tab.on("console", lambda message: said.console.append(message.text))
    tab.on("request", lambda request: said.requests.append(request.url))
    tab.on("pageerror", lambda error: said.errors.append(str(error)))
    tab.on("dialog", lambda dialog: (said.dialogs.append(dialog.message), dialog.dismiss()))
    tab.goto(path.as_uri(), wait_until="load")
    said.path, said.tab = path, tab
    yield said
    tab.close()


RECTANGLE = (
    "const box = e => { const r = e.getBoundingClientRect();"
    " return [r.left, r.top, r.right, r.bottom] };"
)


def boxes(tab, selector):
    """The rectangles that the browser has drawn."""
    return tab.locator(selector).evaluate_all(f"all => {{ {RECTANGLE} return all.map(box) }}")


def children(tab, selector):
    """The rectangles of the children of each such element."""
    inside = "all.map(e => [...e.children].map(box))"
    return tab.locator(selector).evaluate_all(f"all => {{ {RECTANGLE} return {inside} }}")


def test_every_formula_is_drawn(seen):
    drawn = boxes(seen.tab, "math")
    assert len(drawn) == 1 + seen.formulas
    for left, top, right, bottom in drawn:
        assert bottom - top > 10
        assert right - left > 5


def test_fractions_sums_and_subscripts_stand_where_they_belong(seen):
    fractions = children(seen.tab, "mfrac")
    assert len(fractions) > 5
    for above, below in fractions:
        assert above[3] <= below[1]
    for sign, below, above in children(seen.tab, "munderover"):
        assert above[1] < sign[1]
        assert below[3] > sign[3]
    for base, below in children(seen.tab, "msub"):
        assert below[0] >= base[2] - 1
        assert below[3] > (base[1] + base[3]) / 2


def test_names_stand_inside_their_variables(seen):
    labels = boxes(seen.tab, "svg.graph .node text")
    shapes = boxes(seen.tab, "svg.graph .node > ellipse:first-of-type")
    assert len(labels) == len(shapes) > 40
    for label, shape in zip(labels, shapes, strict=True):
        assert shape[1] <= label[1] + 6
        assert label[3] - 6 <= shape[3]
        assert label[2] - label[0] < 1.25 * (shape[2] - shape[0])


def test_nothing_is_asked_for_said_or_run(seen):
    assert seen.requests == [seen.path.as_uri()]
    assert seen.console == []
    assert seen.errors == []
    assert seen.dialogs == []


def test_hostile_names_are_read_as_names(seen):
    assert seen.tab.title() == f"{EVIL} · Ancestral"
    text = seen.tab.locator("math").all_text_contents()
    for name in ("<script>alert(1)</script>", "]]>", "\"onload='alert(2)'"):
        assert any(name in line for line in text)
    assert seen.tab.locator("img, script, a").count() == 0
