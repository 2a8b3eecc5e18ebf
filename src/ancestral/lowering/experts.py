"""Modalities that may be missing: experts run apart, and terms left out where a mask says so.

A product or mixture of experts is lowered to the parameters of each expert and one step that
combines them, so that an expert's network runs once however many laws it stands in, and for all
subsets. What is missing is replaced before a network sees it, and what is computed from it is left
out afterwards: neither value nor gradient is touched by a NaN.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from ancestral.core.axes import ROW, union
from ancestral.distributions.base import Factor
from ancestral.distributions.experts import OfExperts
from ancestral.lowering.build import Sum
from ancestral.program import instructions as ir

if TYPE_CHECKING:
    from ancestral.lowering.context import Lowering, Scope


def has_parts(factor: Factor) -> bool:
    """Whether a law's parameters are combined from those of experts, without hooks around them."""
    law = factor.law
    if not isinstance(law, OfExperts):
        return False
    hooks = (law._forward_hooks, law._forward_pre_hooks, law._backward_hooks)
    return bool(law.cond_var) and law.is_plain and not any(hooks)


def params(lw: "Lowering", factor: Factor, scope: "Scope") -> ir.Register:
    """The register of a law's parameters, from those of its experts."""
    law = factor.law
    assert isinstance(law, OfExperts)
    outer = dict(zip(law.cond_var, factor.cond_var, strict=True))
    mask = None if law.mask is None else lw.value(outer[law.mask], scope)
    registers: list[ir.Register] = []
    present: list[ir.Register | None] = []
    for expert, column in law.columns:
        here = replace(expert, cond_var=tuple(outer[c] for c in expert.cond_var))
        held = None
        if mask is not None and column is not None:
            held = is_present(lw, mask, column, law.width, law.prob_text)
            shown = {c: Sum({show(lw, lw.value(c, scope), held): 1.0}) for c in here.cond_var}
            found = lw.params(here, replace(scope, values={**scope.values, **shown}))
        else:
            found = lw.params(here, scope)
        registers.append(lw.build.cut(found) if expert.detached else found)
        present.append(held)
    slot = lw.build.law_slot(law)
    both = (*registers, *(p for p in present if p is not None))
    axes = union(*(r.axes for r in both))
    given = tuple(lw.value(c, scope).name for c in factor.cond_var)
    for var in factor.var:
        if law.declared_shape is not None:
            lw.shapes.setdefault(var, tuple(law.declared_shape))
    return lw.build.emit(
        ("experts", slot, tuple(registers), tuple(present)),
        law.name,
        axes,
        lambda out: ir.Experts(
            out, slot, tuple(registers), tuple(present), factor.var, given, lw.label(factor, scope)
        ),
    )


def is_present(
    lw: "Lowering", mask: ir.Register, column: int, width: int, text: str
) -> ir.Register:
    """The register of whether a modality is present."""
    return lw.build.emit(
        ("present", mask, column, width),
        f"{mask.name}_{column + 1}",
        mask.axes,
        lambda out: ir.Present(out, mask, column, width, ir.Label(lambda: text)),
    )


def show(lw: "Lowering", value: ir.Register, present: ir.Register) -> ir.Register:
    """The register of a value with a number in its place where it is missing in all plans."""
    rows = tuple(a for a in present.axes if a.kind == ROW)
    return lw.build.emit(
        ("shown", value, present),
        value.name,
        union(value.axes, rows),
        lambda out: ir.Shown(out, value, present),
    )


def left_out(lw: "Lowering", term: ir.Register, present: ir.Register) -> ir.Register:
    """The register of a term that is 0 where its modality is missing."""
    return lw.build.emit(
        ("left out", term, present),
        term.name,
        union(term.axes, present.axes),
        lambda out: ir.LeftOut(out, term, present),
    )
