"""The players that losses carry: the discriminator of each adversarial term, unless it is seated.

They play before the others: a discriminator is trained, then what it judges.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from ancestral.core.errors import OptionError, TrainingError
from ancestral.losses import Node
from ancestral.losses.adversarial import Adversarial, Inner
from ancestral.losses.node import Let, Planned
from ancestral.losses.prob import Expectation
from ancestral.models.parameters import label, modules_in, modules_to_train
from ancestral.models.player import Player, as_players

Wrap = Callable[[Node], Node]


def with_inner(loss: Any, players: Any) -> list[Player]:
    """The players of a model, those whom its losses carry first.

    Args:
        loss: The loss of a model without players.
        players: What ``Model(players=...)`` was given, or ``None``.

    Raises:
        OptionError: If the players are none, or two discriminators have one name.
        TrainingError: If a discriminator stands where it has no player.
    """
    listed = [] if players is None else as_players(players)
    losses = [p.objective for p in listed] if players is not None else [loss]
    seated = {id(p) for player in listed for m in player.over for p in m.parameters()}
    found: dict[tuple[int, ...], Inner] = {}
    for given in losses:
        for inner in _carried(given) if isinstance(given, Node) else ():
            key = tuple(id(p) for m in modules_to_train(given, inner.over) for p in m.parameters())
            if not key or seated & set(key):
                continue
            if key in found:  # one discriminator of two terms
                both = found[key].objective + inner.objective
                inner = replace(found[key], objective=both)
            found[key] = inner
    return [*(_player(inner) for inner in found.values()), *listed]


def _player(inner: Inner) -> Player:
    return Player(
        inner.name,
        maximise=inner.objective,
        over=inner.over,
        optimizer=inner.optimizer,
        optimizer_params=inner.optimizer_params,
        clip_weights=inner.clip_weights,
    )


def _carried(node: Any, wrap: Wrap = lambda objective: objective) -> Iterator[Inner]:
    """The inner players of a loss, under the names and plans that stand around them."""
    if isinstance(node, Adversarial):
        yield replace(node.inner, objective=wrap(node.inner.objective))
        return
    around = wrap
    if isinstance(node, Planned):
        choices = node.choices

        def around(objective: Node) -> Node:
            return wrap(Planned(objective, choices))

    elif isinstance(node, Let):
        names, bindings = node.names, node.bindings

        def around(objective: Node) -> Node:
            return wrap(Let(names, bindings, objective))

    for child in node.children:
        for inner in _carried(child, around):
            if isinstance(node, Expectation):
                raise TrainingError(
                    f"{node}: {inner.name!r} is a discriminator inside of an expectation, where "
                    "it has no player. Take the term out, or train it by a Player of its own, "
                    f"Player({inner.name!r}, maximise=term.dual(), over=[{inner.name}])."
                )
            yield inner


def own_modules(loss: Any, given: Any, players: Sequence[Player]) -> list[nn.Module]:
    """What the player of a loss trains: what is given, or all that no other player does.

    Raises:
        OptionError: If a discriminator is given, which its own player trains.
    """
    theirs = {
        id(p): player.name for player in players for m in player.over for p in m.parameters()
    }
    found = modules_to_train(loss, given)
    if not theirs:
        return found
    rest = []
    for module in found if given is not None else modules_in(loss):
        shared = [theirs[id(p)] for p in module.parameters() if id(p) in theirs]
        if not shared:
            rest.append(module)
        elif given is not None:
            raise OptionError(
                f"distributions=[...]: {label(module)} is the discriminator {shared[0]!r} of "
                f"{loss}, whose own player trains it. Leave it out."
            )
    return rest
