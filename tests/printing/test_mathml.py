"""MathML: well-formed, structured as the formula is, and names are names."""

import random
import re
import xml.etree.ElementTree as ET

import pytest

from ancestral.losses import values
from ancestral.printing.dialect import LATEX, TEXT
from ancestral.printing.mathml import MATHML, NAMESPACE, inert
from tests.printing import expressions

KNOWN = {**expressions.known(), **{f"law {k}": v for k, v in expressions.laws().items()}}
LEAVES = {"mi", "mo", "mn"}
CHILDREN = {"msub": 2, "msup": 2, "mfrac": 2, "munder": 2, "munderover": 3}
ALLOWED = LEAVES | set(CHILDREN) | {"math", "mrow", "mspace"}
ATTRIBUTES = {"display", "form", "stretchy", "lspace", "rspace", "width", "separator"}
ATTRIBUTES |= {"mathvariant"}


def parsed(markup: str) -> ET.Element:
    """The tree, after what must hold for every formula."""
    root = ET.fromstring(markup)
    for element in root.iter():
        tag = tag_of(element)
        assert tag in ALLOWED
        assert set(element.attrib) <= ATTRIBUTES
        if tag in LEAVES:
            assert element.text
            assert len(element) == 0
        else:
            assert not (element.text or "").strip()  # no text outside of tokens
        assert not (element.tail or "").strip()
        assert len(element) == CHILDREN.get(tag, len(element)), tag
    assert tag_of(root) == "math"
    return root


def tag_of(element: ET.Element) -> str:
    return element.tag.removeprefix(f"{{{NAMESPACE}}}")


def words(element: ET.Element) -> str:
    """The text of the tokens, without what is invisible."""
    return re.sub("[\u2061\u2062]", "", "".join(element.itertext()))


def all_of(root: ET.Element, tag: str) -> list[ET.Element]:
    return [e for e in root.iter() if tag_of(e) == tag]


@pytest.mark.parametrize("name", KNOWN)
def test_known_formula_is_well_formed_without_markup(name):
    text = words(parsed(KNOWN[name].mathml()))
    assert not re.search(r"[\\{}&<>$^_]", text), text


# The text of a law has its networks under it, and says 1..50 where a sum has bounds.
COPIED = {"iwae", "copies_summed", "simplified"}


@pytest.mark.parametrize("name", sorted(expressions.known().keys() - COPIED))
def test_the_words_are_those_of_the_text(name):
    """Letters and numbers come in the same order."""
    text = str(KNOWN[name]).replace("KL[", "D KL[").replace("E_{", "𝔼_{").replace("abs(", "(")
    kept = re.compile(r"[^\W_]")
    assert kept.findall(words(parsed(KNOWN[name].mathml()))) == kept.findall(text)


def test_vae():
    root = parsed(KNOWN["vae"].mathml())
    assert words(root) == "𝔼q(z|x)[logp(x|z)]−DKL[q(z|x)‖pprior(z)]"
    expectation, divergence, prior = all_of(root, "msub")
    assert [words(e) for e in expectation] == ["𝔼", "q(z|x)"]
    assert [words(e) for e in divergence] == ["D", "KL"]
    assert [words(e) for e in prior] == ["p", "prior"]
    fences = [e.text for e in all_of(root, "mo") if e.get("stretchy") == "true"]
    assert fences == ["[", "]", "[", "]"]


def test_iwae():
    root = parsed(KNOWN["iwae"].mathml())
    (total,) = all_of(root, "munderover")
    assert [words(e) for e in total] == ["∑", "k=1", "50"]
    (share,) = all_of(root, "mfrac")
    assert [words(e) for e in share] == ["1", "50"]
    assert words(root).startswith("𝔼z1,…,z50∼q(z|x)[log(150∑k=150exp(logp(x,zk)−log")


def test_fractions_stand_without_the_brackets_of_text():
    outer, inner = all_of(parsed(KNOWN["fraction"].mathml()), "mfrac")
    assert words(inner[0]) == "logp(x|z)−logq(z|x)"
    assert words(outer[1]) == "logp(x|z)"


def test_powers():
    powers = all_of(parsed(KNOWN["powers"].mathml()), "msup")
    assert [words(e[1]) for e in powers] == ["2", "3", "−1", "0.5", "2"]
    assert words(powers[0][0]) == "(logp(x|z)+logq(z|x))"
    assert words(powers[1][0]) == "(logp(x|z))"


def test_brackets_come_from_the_one_table():
    """Where nothing is stacked, text and MathML have the same round brackets."""
    for name in ("nested", "small", "detached", "renamed", "density"):
        formula = words(parsed(KNOWN[name].mathml()))
        assert formula.count("(") == str(KNOWN[name]).count("("), name


def test_greek_words_numbers_and_primes():
    def name(text):
        return [(tag_of(e), e.text) for e in parsed(values([text]).mathml()).iter() if e.text]

    assert name("beta") == [("mi", "β")]
    assert name("z_t") == [("mi", "z"), ("mi", "t")]
    assert name("z_{t-1}") == [("mi", "z"), ("mi", "t"), ("mo", "−"), ("mn", "1")]
    assert name("theta_mu") == [("mi", "θ"), ("mi", "μ")]
    assert name("x'") == [("mi", "x"), ("mo", "′")]
    assert name("p_{a}_{b}") == [("mi", "p"), ("mi", "a"), ("mo", ","), ("mi", "b")]


@pytest.mark.parametrize("name", expressions.HOSTILE, ids=ascii)
def test_a_hostile_name_is_a_name(name):
    markup = expressions.hostile(name).mathml()
    root = parsed(markup)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200f\x00-\x1f]", markup)
    if name.isascii() and name.isprintable() and "_" not in name:
        assert any(name == e.text for e in root.iter())


def test_names_that_are_no_unicode_text_can_be_written():
    markup = expressions.hostile("\ud800\x00\uffff").mathml()
    assert "���" in markup
    markup.encode("utf-8")
    assert inert("a\u2028b\nc") == "a b c"


@pytest.mark.parametrize("chunk", range(4))
def test_random_trees_are_well_formed(chunk):
    for seed in range(500 * chunk, 500 * (chunk + 1)):
        loss = expressions.random_loss(random.Random(seed), depth=3)
        text = words(parsed(loss.mathml()))
        assert not re.search(r"[\\{}&<>$^_]", text), seed


def test_every_form_has_every_dialect_and_the_same_parts():
    def parts(form):
        return set(re.findall(r"%\((\w+)\)s", form))

    assert set(TEXT.forms) == set(LATEX.forms) == set(MATHML.forms)
    for kind, form in MATHML.forms.items():
        assert parts(form) >= parts(LATEX.forms[kind]) >= parts(TEXT.forms[kind]), kind
