"""report.html: complete, offline, inert."""

import dataclasses
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
from markupsafe import Markup

from ancestral.distributions import Normal
from ancestral.losses import KL
from ancestral.report import Page, Picture, Result, environment, png, write_page
from ancestral.report.curves import curves_svg

HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}<img src=x onerror=alert(2)>"
VOID = {"meta", "img", "br", "link"}


class Tags(HTMLParser):
    """Every tag with its attributes; an error when tags do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page(word: str = "word") -> Page:
    picture = Picture(word, word, png(np.zeros((4, 4), np.uint8)))
    return Page(
        title=word, data=word, date="2026-01-01", equation=word, latex=word, program=word,
        model=word, results=[Result(word, -1.234, 0.056, word, 1000, word, 1.0, word)],
        notes=[word], curves={word: [(1, 2.0), (2, 1.0)]}, curves_label=word,
        pictures=[picture], settings={word: {word: word}}, files={word: word},
        mathml=word, laws=[word], graph=word, source=word,
    )  # fmt: skip


def rendered(page: Page, tmp_path) -> tuple[str, Tags]:
    path = tmp_path / "report.html"
    write_page(page, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    text = path.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return text, tags


def test_everything_stands_on_the_page(tmp_path):
    text, tags = rendered(page("word"), tmp_path)
    assert "-1.23 ± 0.06 word" in text
    assert "K = 1000" in text
    assert {"svg", "polyline", "img", "table"} <= {tag for tag, _ in tags.found}
    assert text.count("word") >= 15


def test_no_request_leaves_the_page_and_nothing_runs(tmp_path):
    text, tags = rendered(page(HOSTILE), tmp_path)
    names = {tag for tag, _ in tags.found}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in tags.found:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
        assert "href" not in attributes
    assert not re.search(r"url\(|@import|https?:(?!//www\.w3\.org/2000/svg)", text)
    policies = [a["content"] for t, a in tags.found if a.get("http-equiv")]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_hostile_text_is_shown_and_not_run(tmp_path):
    text, _ = rendered(page(HOSTILE), tmp_path)
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "{{ 7*7 }}" in text  # neither is it a template


def test_equation_and_graph_are_drawn_and_do_not_leave_the_page(tmp_path):
    prior = Normal(var=["z"], loc=0.0, scale=1.0, name=HOSTILE)
    q = Normal(var=["z"], cond_var=[HOSTILE], loc=HOSTILE, scale=1.0, name="q")
    loss = KL(q, prior)
    math, law, graph = map(Markup, (loss.mathml(), q.mathml(), loss.graph()))
    drawn = dataclasses.replace(page(HOSTILE), mathml=math, laws=[law], graph=graph)
    text, tags = rendered(drawn, tmp_path)
    names = [tag for tag, _ in tags.found]
    assert names.count("math") == 2
    assert names.count("svg") == 2  # the graph and the curves
    assert set(names) & {"script", "a", "iframe"} == set()
    assert [a["src"][:5] for t, a in tags.found if t == "img"] == ["data:"]
    assert text.count("<math") == 2


def test_without_mathml_the_text_stands_in_its_place(tmp_path):
    text, _ = rendered(Page("t", "d", "2026-01-01", "E[f]", "l", "p"), tmp_path)
    assert '<div class="equation">E[f]</div>' in text


def test_an_empty_page_is_a_page(tmp_path):
    text, _ = rendered(Page("t", "d", "2026-01-01", "e", "l", "p"), tmp_path)
    assert "No epoch was recorded." in text


@pytest.mark.parametrize("last", [1, 2, 19, 20, 250])
def test_curves_are_well_formed_and_inside(last):
    falling = [(epoch, 20 + 30 / epoch) for epoch in range(1, last + 1)]
    svg = ET.fromstring(curves_svg({"train": falling, "<&>": falling}, y_label="<nats>"))
    _, _, width, height = map(float, svg.get("viewBox").split())
    lines = [e for e in svg.iter() if e.tag.endswith("polyline")]
    assert len(lines) == 2
    for line in lines:
        points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        assert len(points) == last
        assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
        assert [y for _, y in points] == sorted(y for _, y in points)  # down is larger in SVG
    assert ("log scale" in "".join(svg.itertext())) == (last >= 20)
    named = [float(e.get("y")) for e in svg.iter() if "name" in e.get("class", "")]
    assert abs(named[0] - named[1]) > 14  # the two names do not lie on each other


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-12, 1e9, 103.2])
def test_a_constant_curve_has_an_axis(value):
    svg = ET.fromstring(curves_svg({"train": [(1, value), (2, value)]}, y_label="nats"))
    assert len([e for e in svg.iter() if e.get("class") == "grid"]) >= 2


def test_values_that_are_not_finite_are_left_out():
    curve = [(1, float("nan")), (2, 1.0), (3, float("inf"))]
    svg = ET.fromstring(curves_svg({"train": curve, "none": curve[:1]}, y_label="nats"))
    (line,) = [e for e in svg.iter() if e.tag.endswith("polyline")]
    assert len(line.get("points").split()) == 1


def test_environment_names_versions_but_no_host_and_no_home():
    import pathlib
    import platform

    found = environment("cpu")
    assert {"ancestral", "python", "torch", "numpy", "system", "threads", "device"} <= set(found)
    text = " ".join(found.values())
    assert platform.node() not in text.split()
    assert str(pathlib.Path.home()) not in text
