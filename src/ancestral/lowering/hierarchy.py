r"""Laws whose parameters are cut, while a gradient still reaches what they are given.

In a hierarchy :math:`q_\phi(z_1)\,q_\phi(z_2|z_1)` the density of a draw reads the draws before it
through its network. An estimator that cuts the parameters of :math:`\log q_\phi(z_2|z_1)` must keep
that path, or noise is left where q is the posterior. The network runs once more there, at weights
that are cut.
"""

import copy
from dataclasses import replace
from typing import Any

from torch import nn

from ancestral.distributions import Law
from ancestral.distributions.base import Factor
from ancestral.distributions.net_of_weights import places_of_weights
from ancestral.lowering.context import Lowering, Scope
from ancestral.nn.detached import without_gradient
from ancestral.program import instructions as ir
from ancestral.program.versions import Versions

# a second pass would be another: with other noise, or other running means
OTHER_TWICE = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm, nn.RReLU)


class AtFixedWeights(nn.Module):
    """The network of a law as it is at each call, with its parameters cut.

    Args:
        law: The law; its network is seen, not owned.
    """

    def __init__(self, law: Law) -> None:
        super().__init__()
        object.__setattr__(self, "law", law)

    def forward(self, *args: Any, **by_name: Any) -> Any:
        """What the network returns."""
        net: Any = vars(self)["law"].net
        return without_gradient(net, *args, **by_name)


def given_draws(lw: Lowering, factor: Factor, scope: Scope) -> tuple[str, ...]:
    """The conditions of a factor through which a gradient reaches the law of another draw."""
    found = []
    for name in factor.cond_var:
        for r in lw.build.behind([lw.value(name, scope)], through_cuts=False):
            step = lw.build.made.get(r)
            passes = isinstance(step, ir.Draw) and (not step.cut or isinstance(step, Versions))
            if passes and lw.build.is_trained(r):
                found.append(name)
    return tuple(dict.fromkeys(found))


def given_versions(lw: Lowering, factor: Factor, scope: Scope) -> bool:
    """Whether one of these stands there in several versions."""
    given = [lw.value(name, scope) for name in factor.cond_var]
    return any(isinstance(lw.build.made.get(r), Versions) for r in lw.build.behind(given))


def cut(lw: Lowering, factor: Factor, scope: Scope) -> Factor:
    """The factor with its parameters cut; a path through its conditions stays, if there is one."""
    if not given_draws(lw, factor, scope):
        return replace(factor, detached=True)  # what its network returns is cut: one pass
    law: Any = factor.law
    if id(law) not in lw.fixed:
        twin = copy.copy(law)
        vars(twin)["_modules"] = {**law._modules, "net": AtFixedWeights(law)}
        vars(twin)["name"] = f"sg[{law.name}]"
        lw.fixed[id(law)] = twin
    return replace(factor, law=lw.fixed[id(law)])


def can_be_fixed(law: Any) -> bool:
    """Whether a network holds all parameters of a law, and returns the same at the same point."""
    net = law._modules.get("net")
    if net is None or type(law).forward is not Law.forward:
        return False
    if law.pushforward is not None or places_of_weights(law):
        return False
    own = {id(p) for p in net.parameters()}
    inside = all(id(p) in own for p in nn.Module.parameters(law))
    return inside and not any(isinstance(m, OTHER_TWICE) for m in net.modules())
