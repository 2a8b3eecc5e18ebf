"""What a law is told of its variables and parameters: checked, and as ``repr`` shows it."""

from typing import TYPE_CHECKING

from ancestral.core.errors import ParameterError, VariableError
from ancestral.core.names import listing
from ancestral.distributions.constraints import identity

if TYPE_CHECKING:
    from ancestral.distributions.law import Law


def check_variables(law: "Law") -> None:
    """Refuse names that are both drawn and given, and too many of them.

    Raises:
        VariableError: If a law is conditioned on its own variable, or over several by mistake.
    """
    both = sorted(set(law.var) & set(law.cond_var))
    if both:
        raise VariableError(
            f"{law.prob_text}: {listing(both)} is both drawn and conditioned on. "
            "A law cannot be conditioned on its own variable: rename one of them."
        )
    if len(law.var) != 1 and not law.several:
        raise VariableError(
            f"{law.prob_text}: a {law.distribution_name} is the law of one variable, got "
            f"var={law.var}. Write one law for each and multiply them."
        )


def check_given(law: "Law") -> None:
    """Refuse parameters that contradict one another.

    Raises:
        ParameterError: If no set of parameters holds all that were given.
    """
    if not any(set(law.given) <= set(way) for way in law.ways):
        raise ParameterError(
            f"{law.prob_text}: {' and '.join(law.given)} were both given; "
            f"a {law.distribution_name} takes one of them."
        )


def lines_of(law: "Law", *, own: bool) -> list[str]:
    """Names and shape of a law on the first line, then one line for each parameter.

    Args:
        law: The law.
        own: Whether its class has a ``forward`` of its own.
    """
    lines = [f"name={law.name}, var={law.var}, cond_var={law.cond_var}"]
    if law.declared_shape is not None:
        lines[0] += f", features_shape={list(law.declared_shape)}"
    keys = dict.fromkeys((*law.given, *(() if own else law.from_net)))
    lines += [f"{key}: {_source(law, key)}" for key in keys]
    if own and law.domains and not law.is_complete:
        lines.append(f"{'the others' if keys else 'parameters'}: what forward returns")
    return lines


def _source(law: "Law", key: str) -> str:
    if key in law.bound:
        return f"the value of {law.bound[key]}"
    if key in law.numbers:
        return f"{law.numbers[key]:g}"
    if key in law.given:
        kind = "trained" if key in law._parameters else "constant"
        return f"{kind}, shape {list(getattr(law, key).shape)}"
    if law.net is None:
        return "not given"
    names, link = law.from_net, law.split[key]
    part = f", part {names.index(key) + 1} of {len(names)}" if len(names) > 1 else ""
    through = "" if link is identity else f" through {link.__name__}"
    return f"from net{part}{through}"
