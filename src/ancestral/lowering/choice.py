"""Which estimator a law's draw has in an expectation, and what it is refused for."""

from ancestral.core.errors import GradientError, OptionError
from ancestral.distributions import Sequence
from ancestral.distributions.base import Factor
from ancestral.distributions.law import Law
from ancestral.estimators.base import Estimator
from ancestral.estimators.score import Score
from ancestral.losses.prob import Expectation
from ancestral.lowering.context import Scope
from ancestral.printing import loss as loss_text


def choice(node: Expectation, factor: Factor, scope: Scope) -> Estimator:
    """The estimator of a law's draw: that chosen, else a default; checked.

    Raises:
        GradientError: If the law has no derivative of the kind.
        OptionError: If it is no plan for draws of this law in this expectation.
    """
    law = factor.law
    chosen = scope.choices.get(id(law))
    if chosen is None:
        chosen = Estimator() if node.reparam else Score()
    elif chosen.how == "path" and not law.moves.reparametrised:
        others = (
            "VIMCO()" if chosen.over_copies else "Enumerate() or Score(LeaveOneOut(), draws=4)"
        )
        raise GradientError(
            f"{type(chosen).__name__}() for {loss_text.text(node)}: a {law.distribution_name} has "
            f"no pathwise derivative. Use {others}."
        )
    if chosen.how == "chain":
        raise OptionError(
            f"{type(chosen).__name__} for {loss_text.text(node)}: it has chains of an energy, but "
            f"{law.prob_text} is a {law.distribution_name}. Leave the plan out."
        )
    if chosen.how == "table" and any(hasattr(f.law.moves, "values") for f in _steps(law)):
        raise OptionError(
            f"Enumerate() for {loss_text.text(node)}: of K values for each of T steps there are "
            "K ** T sequences, which cannot be listed. Write the chain as a product of laws, "
            "E(q_1 * q_2 * q_3, ...), or its likelihood, p.marginalize_var([...]).log_prob(), "
            "which are exact in linear cost; or use Score(...)."
        )
    if chosen.how == "table" and not hasattr(law.moves, "values"):
        raise OptionError(
            f"Enumerate() for {loss_text.text(node)}: the values of a {law.distribution_name} "
            "cannot be enumerated. Use Score(...), or Pathwise() where the law allows it."
        )
    served = chosen.how != "versions" or chosen.serves(law.moves)
    if not served and not chosen.discrete:
        raise OptionError(
            f"{type(chosen).__name__}() for {loss_text.text(node)}: it is for Normal laws with "
            f"independent components, and {law.prob_text} is a {law.distribution_name}. Use "
            f"{'Pathwise()' if law.moves.reparametrised else 'Score(LeaveOneOut(), draws=4)'}."
        )
    smooth = chosen.how in ("through", "relaxed")
    if not served or (smooth and not hasattr(law.moves, "relaxed")):
        raise OptionError(
            f"{type(chosen).__name__}() for {loss_text.text(node)}: a {law.distribution_name} has "
            "no relaxation. It is for Bernoulli and one-hot Categorical laws; use "
            f"{'Pathwise()' if law.moves.reparametrised else 'Score(LeaveOneOut(), draws=4)'}."
        )
    if chosen.how == "points":
        raise OptionError(
            f"{chosen} for {loss_text.text(node)}: it moves particles, and a "
            f"{law.distribution_name} has none. It is for Particles(w, 20) and Points(...)."
        )
    found: Estimator = chosen
    if found.cuts_own or found.over_copies:
        _check_copies(node, factor, found)
    return found


def _steps(law: Law) -> list[Factor]:
    """The random factors of one step of a sequence; of another law none."""
    steps = law.factors_of_step if isinstance(law, Sequence) else []
    return [f for f in steps if f.law.is_random]


def _check_copies(node: Expectation, factor: Factor, chosen: Estimator) -> None:
    """Raise if an estimator for a bound over copies has none of them, or one for none has some."""
    name, told = type(chosen).__name__, loss_text.text(node)
    if chosen.over_copies and not factor.copies:
        single = "StickingTheLanding()" if chosen.cuts_own else "Score(LeaveOneOut(), draws=4)"
        raise OptionError(
            f"{name}() for {told}: it is for a bound over copies, "
            f'E(q.iid(k=10), w.exp().mean("k").log()). Of single draws use {single}.'
        )
    if chosen.cuts_own and factor.copies and not chosen.over_copies:
        raise OptionError(
            f"{name}() for {told}: the score of {factor.law.prob_text} that it leaves out has the "
            "mean 0 for single draws only; under the logarithm of a mean over copies it would be "
            "biased. Use DReG()."
        )
    if chosen.how == "cut" and factor.copies and chosen.over_copies and factor.copies[1] < 2:
        raise OptionError(
            f"{name}() for {told}: of one copy there is no other to make a baseline of. Give "
            "iid(k=2) or more, or use Score(), with LeaveOneOut() of several draws=."
        )
    if chosen.cuts_own and isinstance(factor.law, Sequence):
        raise OptionError(
            f"{name}() for {told}: {factor.law.prob_text} is drawn step by step, each from those "
            "before, so that its parameters cannot be cut apart from them. Use Pathwise()."
        )
