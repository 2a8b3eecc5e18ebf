"""Checks of axes: ``(*sample_shape, batch, *event)``, whatever the parameters come from."""

from typing import Any

import torch
from torch import Tensor, nn

from ancestral.distributions import Law
from ancestral.testing.case import (
    Check,
    LawCase,
    close,
    has_density_and_draws,
    has_parameters,
    require,
    same,
    shaped,
)


def axes_of_constants(case: LawCase) -> None:
    """Values are ``(*sample_shape, batch, *event)``, log densities ``(*sample_shape, batch)``."""
    law = case.law(torch.float32)
    event, var = tuple(law.features_shape), law.var[0]
    parts = event[: len(event) - law.moves.value_dims]
    calls: list[tuple[dict[str, Any], tuple[int, ...]]] = [
        ({}, (1,)),
        ({"batch_n": 5}, (5,)),
        ({"batch_n": 5, "sample_shape": (2, 4)}, (2, 4, 5)),
        ({"sample_shape": [7]}, (7, 1)),
    ]
    for options, lead in calls:
        x = law.sample(**options)[var]
        shaped(x, (*lead, *event), f"sample({options})")
        total = law.get_log_prob({var: x})
        shaped(total, lead, f"log density of {tuple(x.shape)}")
        each = law.get_log_prob({var: x}, sum_features=False)
        shaped(each, (*lead, *parts), "log density of components")
        close(each.reshape(*lead, -1).sum(-1), total, "the sum over components", 1e-5)


def axes_of_rows(case: LawCase) -> None:
    """A parameter that is a condition has rows; each row is the law with that row's parameters."""
    law, var = case.bound(), case.bound().var[0]
    rows = {f"{k}_": torch.stack([v.roll(r, 0) for r in range(5)]) for k, v in case.params.items()}
    x = law.sample(rows, sample_shape=[2], return_all=False)[var]
    total = law.get_log_prob({**rows, var: x})
    shaped(total, (2, 5), f"log density of {tuple(x.shape)}")
    for r in range(5):
        one = case.build(**{k: rows[f"{k}_"][r] for k in case.params})
        close(total[:, r], one.get_log_prob({var: x[:, r]}), f"log density of row {r}")


def axes_of_features_shape(case: LawCase) -> None:
    """Numbers with a declared event shape are that many independent components."""
    params = {k: float(v.flatten()[0]) for k, v in case.params.items()}
    core = case.law().moves.value_shape(())
    law = case.build(features_shape=[3, 2, *core], **params)
    x = law.sample(batch_n=50, sample_shape=[2])[law.var[0]]
    shaped(x, (2, 50, 3, 2, *core), "a sample")
    columns = x.reshape(100, 6, -1)
    require(len(columns.unique(dim=1)[0]) == 6, "components share a draw")
    shaped(law.get_log_prob({law.var[0]: x}), (2, 50), "the log density")
    if hasattr(law.moves, "entropy_of"):
        shaped(law.get_entropy(), (1,), "the entropy")
    if hasattr(law.moves, "mean_of"):
        shaped(law.sample_mean(), (1, 3, 2, *core), "the mean")


def network_gives_parameters(case: LawCase) -> None:
    """``net=`` is the subclass with a ``forward``, to the bit, by name and in order."""
    parts = len(case.family.split)
    net = nn.Linear(2, 3 * parts)
    y = torch.linspace(-1.0, 1.0, 10).reshape(5, 2)

    def forward(self: Law, y: Tensor) -> dict[str, Tensor]:
        pieces = net(y).chunk(parts, -1)
        links = case.family.split.items()
        return {k: link(piece) for (k, link), piece in zip(links, pieces, strict=True)}

    written: Any = type("Written", (case.family,), {"forward": forward})
    kept = {**case.options, **_beside_network(case)}
    first: Law = written(cond_var=["y"], **kept)
    short = LawCase(case.family, {**kept, "cond_var": ["y"]})
    laws = [
        first,
        short.build(net=net),  # in order: the layer calls its argument input
        short.build(net=lambda y: net(y)),  # by name
        short.build(net=lambda *given: forward(first, *given)),  # a dict
    ]
    var, found = laws[0].var[0], []
    for law in laws:
        torch.manual_seed(0)
        x = law.sample({"y": y}, sample_shape=[2])[var]
        found.append((x, law.get_log_prob({"y": y, var: x})))
        require(law.get_log_prob({"y": y, var: x}).requires_grad, "no gradient to the network")
        require(x.shape[:2] == (2, 5), f"a sample has shape {tuple(x.shape)}")
        shaped(found[-1][1], (2, 5), "the log density")
    for x, log_p in found[1:]:
        same(x, found[0][0], "a draw of the short form")
        same(log_p, found[0][1], "the log density of the short form")


def _beside_network(case: LawCase) -> dict[str, Any]:
    """The parameters that a network does not give where it returns one tensor, as constants."""
    family, split = case.family, set(case.family.split)
    ways = family.parametrisations or (tuple(family.domains),)
    way = next(w for w in ways if split <= set(w))
    params = {k: v.float() for k, v in case.params.items() if k in way and k not in split}
    return {k: v if case.core(k) else float(v.flatten()[0]) for k, v in params.items()}


def _has_split(case: LawCase) -> bool:
    """Laws with parameters from equal parts of one tensor."""
    if not has_parameters(case):
        return False
    plain = case.family.split_output is Law.split_output
    ways = case.family.parametrisations or (tuple(case.family.domains),)
    fits = any(
        set(case.family.split) <= set(w) <= {*case.family.split, *case.params} for w in ways
    )
    return bool(case.family.split) and plain and fits


CHECKS = (
    Check(axes_of_constants, has_density_and_draws),
    Check(axes_of_rows, has_parameters),
    Check(
        axes_of_features_shape, lambda case: has_parameters(case) and case.family.param_dims == 0
    ),
    Check(network_gives_parameters, _has_split),
)
