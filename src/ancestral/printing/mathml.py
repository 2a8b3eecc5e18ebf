"""Presentation MathML, from the same rules and precedence table as text and LaTeX.

A part of a formula is a run of MathML elements; where one element must stand, a form puts an
``mrow`` around its part. The elements and attributes are those of MathML Core, which browsers
draw without any script. Every name is escaped, and characters that XML forbids or that would
turn the direction of the text are replaced, so that a name is a name and nothing else.
"""

import re
from html import escape

from ancestral.printing.dialect import GREEK, Dialect, name_parts

NAMESPACE = "http://www.w3.org/1998/Math/MathML"
APPLY = "\u2061"  # function application, invisible
TIMES = "\u2062"  # multiplication, invisible
THIN = "0.1667em"

# Characters that no XML may hold, and marks that turn the direction of what follows.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff"
    "\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
)


def inert(text: str) -> str:
    """A user's text as XML text or attribute value: escaped, one line, no control characters.

    Example:
        >>> inert("<b>&")
        '&lt;b&gt;&amp;'
    """
    one_line = re.sub(r"[\t\n\r\u2028\u2029]", " ", text)
    return escape(_FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", one_line))


def document(formula: str) -> str:
    """A formula as a ``math`` element that stands in a line of its own."""
    return f'<math xmlns="{NAMESPACE}" display="block"><mrow>{formula}</mrow></math>'


def mathml_name(name: str) -> str:
    """A name: one letter is italic, a word upright, what follows an underscore a subscript.

    Example:
        >>> mathml_name("z_t")
        '<msub><mi>z</mi><mrow><mi>t</mi></mrow></msub>'
    """
    head, *tail = name_parts(name)
    if not tail:
        return _tokens(head)
    below = '<mo separator="true">,</mo>'.join(_tokens(part) for part in tail)
    return f"<msub>{_one(_tokens(head))}<mrow>{below}</mrow></msub>"


def _tokens(part: str) -> str:
    """A part of a name: numbers, letters and signs, each in its element."""
    if part in GREEK:
        return f"<mi>{GREEK[part]}</mi>"
    if not re.fullmatch(r"[\w+\-*,.:=' ]+", part):
        return f'<mi mathvariant="normal">{inert(part)}</mi>'
    return "".join(
        _token(token) for token in re.findall(r"\d+(?:\.\d+)?|[^\W\d]+|[^\w\s]", part)
    ) or _identifier(part)


def _token(token: str) -> str:
    if token[0].isdecimal():
        return f"<mn>{inert(token)}</mn>"
    if token[0].isalpha() or token[0] == "_":
        return _identifier(token)
    return f"<mo>{({'-': '−', chr(39): '′'}).get(token, token)}</mo>"


def _identifier(token: str) -> str:
    return f"<mi>{inert(GREEK.get(token, token))}</mi>"


def _one(elements: str) -> str:
    """One element: an ``mrow`` around several."""
    single = re.fullmatch(r"<(\w+)[^>]*>[^<]*</\1>", elements)
    return elements if single else f"<mrow>{elements}</mrow>"


def _number(text: str) -> str:
    return f"<mn>{inert(text)}</mn>"


def _fenced(opening: str, inside: str, closing: str) -> str:
    """Brackets that grow with what they hold."""
    return (
        f'<mrow><mo form="prefix" stretchy="true">{opening}</mo><mrow>{inside}</mrow>'
        f'<mo form="postfix" stretchy="true">{closing}</mo></mrow>'
    )


def _operator(sign: str, space: str = "0") -> str:
    """A sign of fixed height with this much space on both sides."""
    return f'<mo stretchy="false" lspace="{space}" rspace="{space}">{sign}</mo>'


_OPEN, _CLOSE, _GIVEN = _operator("("), _operator(")"), _operator("|", "0.1em")
_APPLY = f'<mo lspace="0" rspace="0">{APPLY}</mo>'
_SPACE = f'<mspace width="{THIN}"/>'
_COMMA = f'<mo separator="true" lspace="0" rspace="{THIN}">,</mo>'
_SUM = "<mo>∑</mo>"

MATHML = Dialect(
    name=mathml_name,
    function=_identifier,
    number=_number,
    comma=_COMMA,
    separator=_COMMA,
    stacks=True,
    forms={
        "law": f"<mrow>%(name)s{_OPEN}%(var)s{_CLOSE}</mrow>",
        "law_given": f"<mrow>%(name)s{_OPEN}%(var)s{_GIVEN}%(given)s{_CLOSE}</mrow>",
        "detached": f"<mi>sg</mi>{_operator('[')}%(name)s{_operator(']')}",
        "equation": "%(left)s<mo>=</mo>%(right)s",
        "proportional": "%(left)s<mo>∝</mo>%(right)s",
        "within": "%(body)s" + _fenced("[", "%(low)s<mo>≤</mo>%(name)s<mo>≤</mo>%(high)s", "]"),
        "product_over": "<mrow><msub><mo>∏</mo>%(axis)s</msub>%(inside)s</mrow>",
        "integral": "<mo>∫</mo>%(body)s%(over)s",
        "differential": f'{_SPACE}<mi mathvariant="normal">d</mi>%(name)s',
        "bound": f"%(name)s{_operator('=', '0.1em')}%(value)s",
        "indexed": "<msub><mrow>%(name)s</mrow><mrow>%(axis)s</mrow></msub>",
        "before": (
            "<msub><mrow>%(name)s</mrow><mrow><mi>t</mi><mo>−</mo><mn>1</mn></mrow></msub>"
        ),
        "through": (
            "<msub><mrow>%(name)s</mrow><mrow><mn>1</mn><mo>:</mo><mi>T</mi></mrow></msub>"
        ),
        "each": (
            f"<msub><mrow>%(name)s</mrow><mn>1</mn></msub>{_COMMA}<mi>…</mi>{_COMMA}"
            "<msub><mrow>%(name)s</mrow>%(size)s</msub>"
        ),
        "copies": "%(each)s<mo>∼</mo>%(law)s",
        "expectation": "<mrow><msub><mi>𝔼</mi><mrow>%(law)s</mrow></msub>"
        + _fenced("[", "%(body)s", "]")
        + "</mrow>",
        "divergence": "<mrow><msub><mi>D</mi><mi>KL</mi></msub>"
        + _fenced("[", f"%(q)s{_operator('‖', '0.22em')}%(p)s", "]")
        + "</mrow>",
        "adversarial": "<mrow><msubsup><mi>D</mi><mi>%(symbol)s</mi>"
        "<mrow>%(critic)s</mrow></msubsup>"
        + _fenced("[", f"%(p)s{_operator('‖', '0.22em')}%(q)s", "]")
        + "</mrow>",
        "entropy": '<mrow><mi mathvariant="normal">H</mi>'
        + _fenced("[", "%(q)s", "]")
        + "</mrow>",
        "log": f"<mrow><mi>log</mi>{_APPLY}{_SPACE}%(density)s</mrow>",
        "call": f"<mrow>%(f)s{_APPLY}" + _fenced("(", "%(args)s", ")") + "</mrow>",
        "apply": f"<mrow>%(f)s{_APPLY}" + _fenced("(", "%(args)s", ")") + "</mrow>",
        "bracket": _fenced("(", "%(inside)s", ")"),
        "abs": _fenced("|", "%(inside)s", "|"),
        "abs_of_bars": _fenced("|", "%(inside)s", "|"),
        "norm": _fenced("‖", "%(inside)s", "‖"),
        "slope": f"<mrow>{_operator('∇')}%(point)s</mrow>",
        "slope_wrt": (
            f"<mrow><msub>{_operator('∇')}<mrow>%(wrt)s</mrow></msub>{_SPACE}%(point)s</mrow>"
        ),
        "push": f"<mrow>{_operator('∂')}%(point)s" + _fenced("[", "%(along)s", "]") + "</mrow>",
        "plus": "%(left)s<mo>+</mo>%(right)s",
        "difference": "%(left)s<mo>−</mo>%(right)s",
        "product": f'%(left)s<mo lspace="0" rspace="{THIN}">{TIMES}</mo>%(right)s',
        "times": "%(left)s<mo>·</mo>%(right)s",
        "power": "<msup><mrow>%(base)s</mrow><mrow>%(exponent)s</mrow></msup>",
        "fraction": "<mfrac><mrow>%(above)s</mrow><mrow>%(below)s</mrow></mfrac>",
        "minus": '<mrow><mo form="prefix">−</mo>%(inside)s</mrow>',
        "detach": "<mrow><mi>sg</mi>" + _fenced("[", "%(inside)s", "]") + "</mrow>",
        "sum": f"<mrow><munder>{_SUM}<mrow>%(axis)s</mrow></munder>%(inside)s</mrow>",
        "sum_to": (
            f"<mrow><munderover>{_SUM}<mrow>%(axis)s<mo>=</mo><mn>1</mn></mrow>%(size)s"
            "</munderover>%(inside)s</mrow>"
        ),
        "sum_before": (
            f"<mrow><munderover>{_SUM}<mrow>%(axis)s<mo>=</mo><mn>0</mn></mrow>%(last)s"
            "</munderover>%(inside)s</mrow>"
        ),
        "mean": "<mfrac><mn>1</mn><mrow>%(size)s</mrow></mfrac>%(sum)s",
        "best": f"<munder>%(sense)s<mrow>%(name)s</mrow></munder>{_SPACE}%(inside)s",
        "turn": f"%(name)s<mo>:</mo>%(sense)s{_SPACE}%(inside)s",
        "turns": '%(first)s<mo separator="true">;</mo>%(rest)s',
    },
)
