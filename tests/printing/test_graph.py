"""The graphical model: its variables and edges are the loss's, its drawing is sound and inert."""

import itertools
import re
import xml.etree.ElementTree as ET

import pytest
import torch

from ancestral.distributions import Deterministic, Normal
from ancestral.losses import KL, E, values
from ancestral.printing.graph import of_losses
from tests.printing import expressions

SVG = "{http://www.w3.org/2000/svg}"
ALLOWED = {"svg", "g", "title", "ellipse", "text", "tspan", "path", "polygon", "rect", "line"}
LOSSES = {name: loss for name, loss in expressions.known().items() if name != "gradients"}
ALL = {**LOSSES, **{f"law {name}": law for name, law in expressions.laws().items()}}


class Drawing:
    """An SVG read back: shapes in absolute coordinates."""

    def __init__(self, svg: str) -> None:
        self.root = ET.fromstring(svg)
        self.size = tuple(float(self.root.get(k)) for k in ("width", "height"))
        assert self.root.get("viewBox") == "0 0 {:.0f} {:.0f}".format(*self.size)
        for element in self.root.iter():
            assert element.tag.removeprefix(SVG) in ALLOWED
            assert not [a for a in element.attrib if a.startswith("on") or "href" in a]
        self.nodes: list[tuple[str, set[str], tuple[float, ...], int]] = []
        self.edges: list[tuple[str, str, str]] = []
        self.ends: dict[tuple[str, str, str], tuple[float, float]] = {}
        self.plates: list[tuple[str, tuple[float, ...]]] = []
        for group in self.root.findall(f"{SVG}g"):
            shift = re.fullmatch(r"translate\((\S+) (\S+)\)", group.get("transform"))
            self._read(group, *map(float, shift.groups()))

    def _read(self, group: ET.Element, dx: float, dy: float) -> None:
        for element in group.findall(f"{SVG}g"):
            title = element.find(f"{SVG}title").text
            kinds = set(element.get("class").split())
            if "node" in kinds:
                outlines = element.findall(f"{SVG}ellipse")
                x, y, rx, ry = (float(outlines[0].get(k)) for k in ("cx", "cy", "rx", "ry"))
                box = (x - rx + dx, y - ry + dy, x + rx + dx, y + ry + dy)
                self.nodes.append((title.rpartition(": ")[0], kinds, box, len(outlines)))
            else:
                source, target = title.split(" → ")
                kind = (kinds - {"edge"}).pop()
                dashed = element.find(f"{SVG}path").get("stroke-dasharray") is not None
                assert dashed == (kind == "inference")
                self.edges.append((source, target, kind))
                tip = element.find(f"{SVG}polygon").get("points").split()[0].split(",")
                self.ends[source, target, kind] = (float(tip[0]) + dx, float(tip[1]) + dy)
        texts = group.findall(f"{SVG}text")
        for rect, text in zip(group.findall(f"{SVG}rect"), texts, strict=False):
            x, y, w, h = (float(rect.get(k)) for k in ("x", "y", "width", "height"))
            self.plates.append(
                ("".join(text.itertext()), (x + dx, y + dy, x + w + dx, y + h + dy))
            )

    @property
    def names(self) -> list[str]:
        return [name for name, _, _, _ in self.nodes]

    def kinds(self, name: str) -> set[str]:
        return next(kinds for n, kinds, _, _ in self.nodes if n == name) - {"node"}

    def box(self, name: str) -> tuple[float, ...]:
        return next(box for n, _, box, _ in self.nodes if n == name)

    def solid(self) -> set[str]:
        return {f"{a}{b}" for a, b, kind in self.edges if kind == "generative"}

    def dashed(self) -> set[str]:
        return {f"{a}{b}" for a, b, kind in self.edges if kind == "inference"}


def meet(a, b, slack=0.0):
    return (
        a[0] < b[2] - slack and b[0] < a[2] - slack and a[1] < b[3] - slack and b[1] < a[3] - slack
    )


def holds(outer, inner):
    return all(o <= i for o, i in zip(outer[:2], inner[:2], strict=True)) and all(
        o >= i for o, i in zip(outer[2:], inner[2:], strict=True)
    )


def check_geometry(drawing: Drawing) -> None:
    """No two variables overlap, plates hold a variable or stay clear of it, all is on the page."""
    boxes = [box for _, _, box, _ in drawing.nodes]
    for a, b in itertools.combinations(boxes, 2):
        assert not meet(a, b)
    for _, plate in drawing.plates:
        for box in boxes:
            assert holds(plate, box) or not meet(plate, box)
    page = (0.0, 0.0, *drawing.size)
    for box in [*boxes, *(plate for _, plate in drawing.plates)]:
        assert holds(page, box)
    for (_, target, _), (x, y) in drawing.ends.items():  # an arrow ends at its target's outline
        x0, y0, x1, y1 = drawing.box(target)
        u, v = (2 * x - x0 - x1) / (x1 - x0), (2 * y - y0 - y1) / (y1 - y0)
        assert 0.95 < (u * u + v * v) ** 0.5 < 1.3


def normal(var, given=(), name="p"):
    given = list(given)
    return Normal(var=[var], cond_var=given, loc=given[0] if given else 0.0, scale=1.0, name=name)


@pytest.mark.parametrize("name", ALL)
def test_known_graph(name):
    drawing = Drawing(ALL[name].graph())
    check_geometry(drawing)
    assert len(set(drawing.names)) == len(drawing.names)
    assert len(set(drawing.edges)) == len(drawing.edges)
    if name in LOSSES:
        shaded = {n for n in drawing.names if "observed" in drawing.kinds(n) and "=" not in n}
        assert shaded == set(LOSSES[name].input_var) & set(drawing.names)


def test_vae():
    drawing = Drawing(LOSSES["vae"].graph())
    assert sorted(drawing.names) == ["x", "z"]
    assert drawing.kinds("x") == {"observed"}
    assert drawing.kinds("z") == {"latent"}
    assert drawing.solid() == {"zx"}
    assert drawing.dashed() == {"xz"}
    assert [label for label, _ in drawing.plates] == ["n = 1…N"]
    assert drawing.box("z")[1] < drawing.box("x")[1]  # parents are above
    assert "".join(drawing.root.itertext()).endswith("ppriorpq")  # the legend


def test_iwae_has_a_plate_of_copies_inside_the_rows():
    drawing = Drawing(LOSSES["iwae"].graph())
    assert drawing.solid() == {"zx"}
    assert drawing.dashed() == {"xz"}
    plates = dict(drawing.plates)
    assert set(plates) == {"n = 1…N", "k = 1…50"}
    assert holds(plates["n = 1…N"], plates["k = 1…50"])
    assert holds(plates["k = 1…50"], drawing.box("z"))
    assert not meet(plates["k = 1…50"], drawing.box("x"))


def test_copies_beside_what_is_no_copy():
    """u has one draw, z twenty: the frame around z leaves u out, although both are roots."""
    law = normal("z", ["x"], "q").iid(k=20) * normal("u", ["x"], "r")
    model = normal("x", ["z", "u"]) * normal("z") * normal("u")
    drawing = Drawing(E(law, model.log_prob().mean("k")).graph())
    check_geometry(drawing)
    plate = dict(drawing.plates)["k = 1…20"]
    assert holds(plate, drawing.box("z"))
    assert not meet(plate, drawing.box("u"))


def test_m2_labelled_and_unlabelled_rows_are_two_plates():
    drawing = Drawing(LOSSES["m2"].graph())
    assert sorted(drawing.names) == ["x", "x_u", "y", "y_u", "z", "z_u"]
    assert {n for n in drawing.names if "observed" in drawing.kinds(n)} == {"x", "y", "x_u"}
    assert drawing.solid() == {"zx", "yx", "z_ux_u", "y_ux_u"}
    assert drawing.dashed() == {"xz", "yz", "xy", "x_uz_u", "y_uz_u", "x_uy_u"}
    assert [label for label, _ in drawing.plates] == ["n = 1…N", "m = 1…M"]


def test_sleep_draws_from_the_model_and_scores_inference():
    p, prior, q = normal("x", ["z"]), normal("z"), normal("z", ["x"], "q")
    drawing = Drawing(E(p * prior, q.log_prob()).graph())
    assert drawing.solid() == {"zx"}
    assert drawing.dashed() == {"xz"}


def test_a_ladder_and_an_auxiliary_variable():
    p = normal("x", ["z_1"]) * normal("z_1", ["z_2"]) * normal("z_2")
    q = normal("z_1", ["x"], "q") * normal("z_2", ["z_1"], "q")
    drawing = Drawing(E(q, p.log_prob() - q.log_prob()).graph())
    assert drawing.solid() == {"z_1x", "z_2z_1"}
    assert drawing.dashed() == {"xz_1", "z_1z_2"}
    aux = normal("a", ["x"], "q") * normal("z", ["x", "a"], "q")
    drawing = Drawing(E(aux, (normal("x", ["z"]) * normal("z")).log_prob()).graph())
    check_geometry(drawing)
    assert drawing.solid() == {"zx"}
    assert drawing.dashed() == {"xa", "xz", "az"}


def test_what_a_condition_reads_is_given():
    """A conditional prior and encoder: y has no law, so it is observed and a root."""
    prior, q = normal("z", ["y"]), normal("z", ["x", "y"], "q")
    loss = E(q, normal("x", ["z", "y"]).log_prob()) - KL(q, prior)
    drawing = Drawing(loss.graph())
    assert drawing.kinds("y") == {"observed"}
    assert drawing.solid() == {"yz", "zx", "yx"}
    assert drawing.dashed() == {"xz", "yz"}


def test_deterministic_variables_have_two_outlines():
    h = Deterministic(var=["s"], cond_var=["x"], net=torch.nn.Identity(), name="h")
    drawing = Drawing(E(h, normal("y", ["s"]).log_prob()).graph())
    assert drawing.kinds("s") == {"latent", "deterministic"}
    assert {n: count for n, _, _, count in drawing.nodes} == {"x": 1, "s": 2, "y": 1}
    assert drawing.solid() == {"xs", "sy"}


def test_a_law_shades_what_it_is_given():
    assert Drawing(normal("x", ["z"]).graph()).kinds("z") == {"observed"}
    drawing = Drawing(expressions.laws()["marginal"].graph())
    assert drawing.kinds("z") == drawing.kinds("x") == {"latent"}
    assert drawing.solid() == {"zx"}


def test_a_variable_that_is_set_says_so():
    drawing = Drawing(LOSSES["constant"].graph())
    assert drawing.kinds("z = 2") == {"observed"}
    assert drawing.solid() == {"z = 2x"}


@pytest.mark.parametrize("count", [9, 30])
def test_thirty_variables_do_not_overlap(count):
    law = normal("v_1")
    for t in range(2, count + 1):
        law = law * normal(f"v_{t}", sorted({f"v_{t // 2}", f"v_{max(1, t - 3)}"}))
    drawing = Drawing(law.graph())
    assert len(drawing.names) == count
    check_geometry(drawing)


def test_players_stand_side_by_side_under_their_names():
    svg = of_losses({"critic": LOSSES["iwae"], "theta_1": LOSSES["vae"], "<b>": LOSSES["m2"]})
    drawing = Drawing(svg)
    titles = ["".join(t.itertext()) for t in drawing.root.findall(f"{SVG}text")]
    assert titles == ["critic", "θ1", "<b>"]
    boxes = [box for _, _, box, _ in drawing.nodes]
    assert len(boxes) == 2 + 2 + 6
    assert not [pair for pair in itertools.combinations(boxes, 2) if meet(*pair)]
    assert not [
        p for p in itertools.combinations([b for _, b in drawing.plates[1:3]], 2) if meet(*p)
    ]


@pytest.mark.parametrize("name", expressions.HOSTILE, ids=ascii)
def test_hostile_names_are_text(name):
    svg = expressions.hostile(name).graph()
    svg.encode("utf-8")
    drawing = Drawing(svg)  # well-formed, and nothing but our elements
    check_geometry(drawing)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200f\x00-\x1f]", svg)
    assert len(drawing.names) == 3
    if name.isprintable():
        assert name in drawing.names


def test_subscripts_are_spans():
    text = next(
        e for e in Drawing(normal("z_t").graph()).root.iter(f"{SVG}text")
        if e.get("class") == "variable"
    )  # fmt: skip
    letter, below = text
    assert (letter.text, below.text) == ("z", "t")
    assert letter.get("font-style") == "italic"
    assert float(below.get("font-size")) < float(text.get("font-size"))
    assert float(below.get("dy")) > 0


def test_notebooks_get_the_equation_and_the_graph():
    html = LOSSES["vae"]._repr_html_()
    assert html.count("<math") == html.count("<svg") == 1
    assert "<script" not in expressions.hostile("<script>alert(1)</script>")._repr_html_()
    assert expressions.laws()["joint"]._repr_html_().count("<svg") == 1
    assert "<svg" not in values("x")._repr_html_()  # it mentions no law
    ET.fromstring(f"<div>{html}</div>")
