"""Where each parameter of a law comes from, as ``repr`` shows it."""

from typing import TYPE_CHECKING

from ancestral.distributions.constraints import identity

if TYPE_CHECKING:
    from ancestral.distributions.law import Law


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
