"""Exact sums over enumerated variables: equal to brute force, at a cost linear in a chain.

The oracle sums the product of all tables with the integrand over every assignment, variable i
along axis i of one tensor, in plain torch.
"""

import functools
import itertools
import operator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ancestral.core.errors import DensityError, OptionError
from ancestral.distributions import Bernoulli, Categorical, Normal, Sequence
from ancestral.losses import (
    KL,
    E,
    Enumerate,
    Function,
    IterativeLoss,
    LeaveOneOut,
    Score,
    values,
)
from ancestral.program import instructions as ir

f64 = torch.float64
ROWS = 3


def product(laws: Any) -> Any:
    return functools.reduce(operator.mul, laws)


def enumerated(loss: Any, laws: Any) -> Any:
    return loss.estimate(dict.fromkeys(laws, Enumerate()))


def agrees(loss: Any, batch: dict[str, Tensor], wanted: Tensor, parameters: Any) -> None:
    """Value per row and gradient of the interpreter, then of the text, to 1e-10."""
    function, weight = loss.function(), torch.linspace(0.5, 1.5, ROWS, dtype=f64)
    expected = torch.autograd.grad((weight * wanted).sum(), parameters)
    for _ in range(2):
        value = function(batch)
        assert (value - wanted).abs().max() < 1e-10
        found = torch.autograd.grad((weight * value).sum(), parameters)
        for one, other in zip(found, expected, strict=True):
            assert (one - other).abs().max() < 1e-10
            assert other.abs().max() > 1e-3


# -- graphs of any form -----------------------------------------------------------------------
class Lookup(nn.Module):
    """Logits by the indices of the parents, shifted by the data."""

    def __init__(self, sizes: list[int], seed: int) -> None:
        super().__init__()
        make = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(*sizes, generator=make, dtype=f64))
        self.weight = nn.Parameter(torch.randn(sizes[-1], generator=make, dtype=f64))

    def forward(self, *given: Tensor) -> Tensor:
        x, *parents = given
        return self.table[tuple(z.long() for z in parents)] + x * self.weight


def graph(parents: list[tuple[int, ...]]) -> list[Categorical]:
    """Laws of z0, z1, ... with 2 or 3 values each, given the data and these parents."""
    sizes = [2 + i % 2 for i in range(len(parents))]
    return [
        Categorical(
            var=[f"z{i}"],
            cond_var=["x", *(f"z{j}" for j in given)],
            net=Lookup([*(sizes[j] for j in given), sizes[i]], i),
            onehot=False,
            name=f"q_{i}",
        )
        for i, given in enumerate(parents)
    ]


def placed(table: Tensor, places: tuple[int, ...], count: int) -> Tensor:
    """A table ``(*sizes, rows)`` with its variables along their axes of the joint table."""
    order = sorted(range(len(places)), key=places.__getitem__)
    table = table.permute(*order, -1)
    sizes = dict(zip(sorted(places), table.shape, strict=False))
    return table.reshape(*(sizes.get(i, 1) for i in range(count)), table.shape[-1])


def log_tables(laws: list[Categorical], parents: list[tuple[int, ...]], x: Tensor) -> list[Tensor]:
    """log q(z_i | parents, x), each along its axes of the joint table."""
    found = []
    for i, (law, given) in enumerate(zip(laws, parents, strict=True)):
        net: Any = law.net
        logits = net.table[..., None, :] + x * net.weight  # (*parents, rows, values)
        log_q = logits.log_softmax(-1).movedim(-1, -2)
        found.append(placed(log_q, (*given, i), len(parents)))
    return found


def term(names: tuple[int, ...]) -> tuple[Any, Any]:
    """A function of some variables: as a loss and by hand."""

    def curve(*z: Tensor) -> Tensor:
        every = [v.to(f64) * (0.4 + 0.3 * i) for i, v in zip(names, z, strict=True)]
        return torch.sin(sum(every) + 0.2)  # type: ignore[arg-type]

    return Function(curve, name=f"f{'_'.join(map(str, names))}"), curve


GRAPHS: dict[str, tuple[list[tuple[int, ...]], list[tuple[int, ...]]]] = {
    "independent": ([(), (), ()], [(0,), (1,), (2,), (0, 2)]),
    "chain": ([(), (0,), (1,), (2,), (3,)], [(0,), (0, 1), (1, 2), (2, 3), (3, 4), (4,)]),
    "far apart": ([(), (0,), (1,), (2,)], [(0, 3), (1, 3), (2,)]),
    "second order": ([(), (0,), (0, 1), (1, 2), (2, 3)], [(0, 1, 2), (2, 3, 4), (4,), (1,)]),
    "tree": ([(), (0,), (0,), (1,), (1,), (2,)], [(1, 3), (1, 4), (2, 5), (3,), (3, 5)]),
    "collider": ([(), (), (0, 1), (2,)], [(0,), (1, 2), (3,)]),
    "inputs": ([(), (), (), (0,), (3, 1), (4, 2)], [(3, 4), (1, 4), (5,), (0, 5)]),
    "diamond": ([(), (0,), (0,), (1, 2), (3,)], [(3,), (1, 2), (4,), (0, 4)]),
}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("form", ["one", "several", "nested", "product", "exponential"])
def test_a_sum_of_terms_is_exact_whatever_the_graph(name: str, form: str) -> None:
    """In one expectation, in one for each term, nested; of a product, and of an exponential."""
    parents, terms = GRAPHS[name]
    count = len(parents)
    laws, x = graph(parents), torch.tensor([[0.3], [-1.0], [0.8]], dtype=f64)
    functions = [(term(names), names) for names in terms]
    bodies = [f(*(values(f"z{i}") for i in names)) for (f, _), names in functions]
    log_q = [law.log_prob() for law in laws]
    tables = log_tables(laws, parents, x[:, 0, None])
    sizes = [2 + i % 2 for i in range(count)]
    grid = torch.meshgrid(*(torch.arange(s) for s in sizes), indexing="ij")
    hands = [curve(*(grid[i] for i in names))[..., None] for (_, curve), names in functions]
    if form == "product":
        body, by_hand = product(bodies) - sum(log_q), product(hands) - sum(tables)
    elif form == "exponential":
        body, by_hand = (0.5 * sum(bodies) + 0.3).exp(), (0.5 * sum(hands) + 0.3).exp()
    else:
        body, by_hand = sum(bodies) - sum(log_q), sum(hands) - sum(tables)
    loss = E(product(laws), body)
    if form == "several":
        loss = sum(E(product(laws), each) for each in (*bodies, *(-each for each in log_q)))
    elif form == "nested":
        loss = body
        for law in reversed(laws):
            loss = E(law, loss)
    joint = sum(tables).exp() * by_hand
    wanted = joint.expand(*sizes, ROWS).sum(tuple(range(count)))
    parameters = [p for law in laws for p in law.parameters()]
    agrees(enumerated(loss, laws), {"x": x}, wanted, parameters)


# -- chains as one writes them ----------------------------------------------------------------
class Bits(nn.Module):
    """Logits of two bits by the two bits before them."""

    def __init__(self, table: nn.Parameter) -> None:
        super().__init__()
        self.table = table

    def forward(self, z: Tensor) -> Tensor:
        return self.table[(2 * z[:, 0] + z[:, 1]).long()]


class Rows(nn.Module):
    """A row of a table by an index, or by a one-hot vector."""

    def __init__(self, table: nn.Parameter) -> None:
        super().__init__()
        self.table = table

    def forward(self, z: Tensor) -> Tensor:
        return self.table[z] if z.dim() == 1 else z @ self.table


class Means(Rows):
    """The mean of an observation by the state."""

    def forward(self, z: Tensor) -> dict[str, Any]:
        found = self.table[(2 * z[:, 0] + z[:, 1]).long()] if z.shape[1:] == (2,) else None
        return {"loc": super().forward(z) if found is None else found, "scale": 0.7}


class Chain:
    """A hidden Markov model and a posterior that is a chain, by one table each for every step."""

    def __init__(self, kind: str, length: int, states: int = 4) -> None:
        self.kind, self.length, self.states = kind, length, states
        make = torch.Generator().manual_seed(length)
        width = 2 if kind == "bits" else states

        def table(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=make, dtype=f64))

        self.q_tables = [table(width), *(table(states, width) for _ in range(length - 1))]
        self.p_tables = [table(width), *(table(states, width) for _ in range(length - 1))]
        self.means = table(states, 1)
        self.q = [self._law(t, i, "q") for i, t in enumerate(self.q_tables)]
        self.p = [self._law(t, i, "p") for i, t in enumerate(self.p_tables)]
        self.emissions = [
            Normal(var=[f"x{t}"], cond_var=[f"z{t}"], net=Means(self.means), name="e")
            for t in range(length)
        ]
        x = torch.randn(ROWS, length, generator=make, dtype=f64)
        self.x = x
        self.batch = {f"x{t}": x[:, t : t + 1] for t in range(length)}

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [*self.q_tables, *self.p_tables, self.means]

    def _law(self, table: nn.Parameter, t: int, name: str) -> Any:
        given: dict[str, Any] = {"var": [f"z{t}"], "name": f"{name}_{t}"}
        if t:
            net = Bits(table) if self.kind == "bits" else Rows(table)
            given |= {"cond_var": [f"z{t - 1}"], "net": net}
        else:
            given["logits"] = table
        if self.kind == "bits":
            return Bernoulli(**given)
        return Categorical(onehot=self.kind == "one-hot", **given)

    def loss(self, form: str) -> Any:
        q, p, e = product(self.q), product(self.p), product(self.emissions)
        if form == "one expectation":
            found = E(q, (p * e).log_prob() - q.log_prob())
        elif form == "divergence":
            found = E(q, e.log_prob()) - KL(q, p)
        elif form == "separate":
            found = sum(
                E(product(self.q[: t + 1]), e.log_prob() + p.log_prob() - q.log_prob())
                for t, (q, p, e) in enumerate(zip(self.q, self.p, self.emissions, strict=True))
            )
        else:
            found = 0.0
            every = list(zip(self.q, self.p, self.emissions, strict=True))
            for law, prior, given in reversed(every):
                inside = given.log_prob() + prior.log_prob() - law.log_prob() + found
                found = E(law, inside)
        return enumerated(found, self.q)

    def log_table(self, table: Tensor) -> Tensor:
        """log of a step's table, shape ``(..., states)``."""
        if self.kind != "bits":
            return table.log_softmax(-1)
        bits = torch.tensor(list(itertools.product((0.0, 1.0), repeat=2)), dtype=f64)
        return F.logsigmoid(table[..., None, :] * (2 * bits - 1)).sum(-1)

    def log_emissions(self) -> Tensor:
        """Shape ``(length, rows, states)``."""
        away = (self.x.T[:, :, None] - self.means[:, 0]) / 0.7
        return -0.5 * away**2 - torch.tensor(0.7 * (2 * torch.pi) ** 0.5, dtype=f64).log()

    def brute(self) -> Tensor:
        """The bound by all assignments."""

        def joint(tables: list[nn.Parameter]) -> Tensor:
            total = torch.zeros((self.states,) * self.length, dtype=f64)
            for t, table in enumerate(tables):
                shape = [self.states if i in (t - 1, t) else 1 for i in range(self.length)]
                total = total + self.log_table(table).reshape(shape)
            return total[..., None]

        emitted: Any = sum(
            each.T.reshape(*(self.states if i == t else 1 for i in range(self.length)), ROWS)
            for t, each in enumerate(self.log_emissions())
        )
        log_q = joint(self.q_tables)
        every = log_q.exp() * (joint(self.p_tables) + emitted - log_q)
        return every.sum(tuple(range(self.length)))

    def by_messages(self) -> Tensor:
        """The bound by the forward recursion of the marginals."""
        message, total = None, torch.zeros(ROWS, dtype=f64)
        steps = zip(self.q_tables, self.p_tables, self.log_emissions(), strict=True)
        for q_table, p_table, emitted in steps:
            log_q, log_p = self.log_table(q_table), self.log_table(p_table)
            both = log_q.exp() if message is None else message[:, None] * log_q.exp()
            total = total + (both * (log_p - log_q)).sum()
            message = both if message is None else both.sum(0)
            total = total + emitted @ message
        return total


FORMS = ["one expectation", "divergence", "separate", "nested"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["one-hot", "index", "bits"])
def test_the_bound_of_a_chain_equals_brute_force(kind: str, form: str) -> None:
    world = Chain(kind, 4)
    agrees(world.loss(form), world.batch, world.brute(), world.parameters)


@pytest.mark.parametrize(("form", "length"), [*((f, 15) for f in FORMS), (FORMS[0], 50)])
def test_a_long_chain_is_exact(form: str, length: int) -> None:
    """Of 5 to the 50 assignments; the recursion is that of the smaller ones."""
    short = Chain("index", 3)
    assert (short.by_messages() - short.brute()).abs().max() < 1e-12
    world = Chain("one-hot", length, 5)
    agrees(world.loss(form), world.batch, world.by_messages(), world.parameters)


class Largest(TorchDispatchMode):
    """The number of entries of the largest tensor that an operation makes."""

    entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for made in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(made, Tensor) and not made._is_view():
                self.entries = max(self.entries, made.numel())
        return out


def largest(world: Chain, form: str) -> int:
    """The largest tensor of a step and its gradient."""
    function = world.loss(form).sum().function()
    function(world.batch)
    with Largest() as seen:
        torch.autograd.grad(function(world.batch), world.parameters)
    return seen.entries


@pytest.mark.parametrize("form", FORMS)
def test_the_cost_of_a_chain_is_linear_in_its_length(form: str) -> None:
    """As many instructions for each step, and tensors that do not grow."""
    counts = [len(Chain("index", t).loss(form).program().steps) for t in (4, 8, 12)]
    assert counts[2] - counts[1] == counts[1] - counts[0] < 4 * 25
    worlds = [Chain("index", t, 5) for t in (4, 8)]
    for world in worlds:
        wide = [s.out.axes for s in world.loss(form).program().steps]
        assert max(sum(a.name.startswith("z") for a in axes) for axes in wide) == 2
    assert largest(worlds[0], form) == largest(worlds[1], form)


def test_the_cost_of_a_tree_and_of_inputs_is_linear() -> None:
    """Branches share the messages of their stem; independent parents are summed one by one."""

    def tree(depth: int) -> list[tuple[int, ...]]:
        return [() if i == 0 else ((i - 1) // 2,) for i in range(2**depth - 1)]

    def inputs(length: int) -> list[tuple[int, ...]]:
        roots: list[tuple[int, ...]] = [()] * (length + 1)
        return [*roots, *((length if t == 0 else length + t, t) for t in range(length))]

    for made, sizes, widest in ((tree, (3, 4, 5), 2), (inputs, (4, 8, 12), 3)):
        each = []
        for size in sizes:
            parents = made(size)
            laws = graph(parents)
            body = sum(law.log_prob() for law in laws)
            steps = enumerated(E(product(laws), body), laws).program().steps
            assert max(sum(a.name[0] == "z" for a in s.out.axes) for s in steps) == widest
            each.append((len(steps), len(parents)))
        (a, m), (b, n), (c, k) = each
        assert (b - a) / (n - m) == pytest.approx((c - b) / (k - n), rel=0.1)


# -- beside other draws -----------------------------------------------------------------------
def bernoulli(name: str, given: str, seed: int) -> Bernoulli:
    net = nn.Linear(1, 1, dtype=f64)
    nn.init.constant_(net.weight, 0.9 - 0.4 * seed)
    nn.init.constant_(net.bias, 0.3 * seed - 0.5)
    return Bernoulli(var=[name], cond_var=[given], net=net, name=f"q_{name}")


@pytest.mark.parametrize("chosen", [Score(), Score(LeaveOneOut(), draws=2)], ids=repr)
@pytest.mark.parametrize("sampled", [0, 1, 2])
def test_one_draw_of_a_chain_is_estimated_and_the_others_summed(sampled: int, chosen: Any) -> None:
    """Over every outcome of its noise, each weighted by its probability: the exact gradient."""
    names = ["x", "a", "b", "c"]
    laws = [bernoulli(v, given, i) for i, (given, v) in enumerate(itertools.pairwise(names))]
    parameters = [p for law in laws for p in law.parameters()]
    a, b, c = values("a b c")
    pair = Function(lambda u, v: (1.3 * u - 0.4 * v + 0.2)[:, 0] ** 2, name="f")
    loss = E(product(laws), pair(a, b) + pair(b, c) + pair(c, c) - product(laws).log_prob())
    exact = enumerated(loss, laws).eval({"x": torch.ones(1, 1, dtype=f64)})
    wanted = torch.autograd.grad(exact.sum(), parameters)
    plan = {law: chosen if i == sampled else Enumerate() for i, law in enumerate(laws)}
    loss = loss.estimate(plan)
    draw = next(s for s in loss.program().steps if isinstance(s, ir.Draw))
    sizes = [a.size or 2 for a in draw.out.axes[:-1]]
    count = int(torch.Size(sizes).numel())
    outcome = torch.tensor(list(itertools.product((0.0, 1.0), repeat=count)), dtype=f64)
    noise = (1 - outcome).T.reshape(*sizes, len(outcome), 1)
    before = outcome.new_ones(1) if sampled == 0 else torch.tensor([0.0, 1.0], dtype=f64)
    logits: Any = laws[sampled].net(before[:, None])[:, 0]  # of each value that it is drawn from
    given = [i for i, axis in enumerate(draw.out.axes[:-1]) if axis.name == names[sampled]]
    shape = [len(before) if i in given else 1 for i in range(len(sizes))]
    log_p = F.logsigmoid(logits.reshape(*shape, 1) * (1 - 2 * noise[..., 0]))
    weight = log_p.reshape(count, -1).sum(0).exp().detach()
    assert weight.sum().item() == pytest.approx(1.0)
    batch = {"x": torch.ones(len(weight), 1, dtype=f64)}
    function = loss.function()
    for _ in range(2):
        value = (weight * function(batch, noise={names[sampled + 1]: noise})).sum()
        assert value.item() == pytest.approx(exact.item(), abs=1e-12)
        for one, other in zip(torch.autograd.grad(value, parameters), wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


# -- plates -----------------------------------------------------------------------------------
class ByClass(nn.Module):
    """Logits by a class, shifted by the row."""

    def __init__(self, table: nn.Parameter) -> None:
        super().__init__()
        self.table = table

    def forward(self, g: Tensor, x: Tensor) -> Tensor:
        return self.table[g.long()] + x


def test_nested_plates_equal_a_sum_over_all_rows_together() -> None:
    """A class of the data set, in it one of each row, in it two bits: 2 * (3 * 4) ** 2 values."""
    make = torch.Generator().manual_seed(4)
    q_g, p_g, q_c, p_c, q_b, p_b, means = (
        nn.Parameter(torch.randn(*shape, generator=make, dtype=f64))
        for shape in ((2,), (2,), (2, 3), (2, 3), (3, 2), (3, 2), (4, 1))
    )
    shared: dict[str, Any] = {"var": ["g"], "onehot": False, "plate": None}
    q = Categorical(logits=q_g, name="q", **shared)
    p = Categorical(logits=p_g, name="p", **shared)
    given: dict[str, Any] = {"var": ["c"], "cond_var": ["g", "x"], "onehot": False}
    q1, p1 = (
        Categorical(net=ByClass(t), name=n, **given) for t, n in ((q_c, "q_1"), (p_c, "p_1"))
    )
    bits: dict[str, Any] = {"var": ["b"], "cond_var": ["c"]}
    q2, p2 = (Bernoulli(net=Rows(t), name=n, **bits) for t, n in ((q_b, "q_2"), (p_b, "p_2")))
    emission = Normal(var=["x"], cond_var=["b"], net=Means(means), name="e")
    rows = emission.log_prob() + (p1 * p2).log_prob() - (q1 * q2).log_prob()
    loss = enumerated((E(q * q1 * q2, rows) - KL(q, p)).sum(), [q, q1, q2])

    x = torch.tensor([[0.4], [-0.9]], dtype=f64)
    pair = torch.tensor(list(itertools.product((0.0, 1.0), repeat=2)), dtype=f64)
    log_b = [F.logsigmoid(t[:, None] * (2 * pair - 1)).sum(-1) for t in (q_b, p_b)]
    away = (x - means[:, 0]) / 0.7
    log_x = -0.5 * away**2 - torch.tensor(0.7 * (2 * torch.pi) ** 0.5, dtype=f64).log()
    wanted = torch.zeros((), dtype=f64)
    for g, *each in itertools.product(range(2), *[range(3), range(4)] * 2):
        log_q, log_p = q_g.log_softmax(-1)[g], p_g.log_softmax(-1)[g]
        for n, (c, b) in enumerate(zip(each[::2], each[1::2], strict=True)):
            log_q = log_q + (q_c[g] + x[n]).log_softmax(-1)[c] + log_b[0][c, b]
            log_p = log_p + (p_c[g] + x[n]).log_softmax(-1)[c] + log_b[1][c, b] + log_x[n, b]
        wanted = wanted + log_q.exp() * (log_p - log_q)
    parameters = [q_g, p_g, q_c, p_c, q_b, p_b, means]
    expected = torch.autograd.grad(wanted, parameters)
    function = loss.function()
    for _ in range(2):
        value = function({"x": x}, data_size=2)
        assert (value - wanted).abs() < 1e-10
        for one, other in zip(torch.autograd.grad(value, parameters), expected, strict=True):
            assert (one - other).abs().max() < 1e-10
            assert other.abs().max() > 1e-3


def test_a_loop_that_hands_on_an_enumerated_draw_is_refused() -> None:
    """The next step would see the values of this one along the axis of its own."""
    q = bernoulli("z", "h", 1)
    p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0, name="p")
    step = E(q, p.log_prob() - q.log_prob())
    loss = IterativeLoss(step, series_var=["x"], update_value={"z": "h"})
    with pytest.raises(OptionError, match=r"z is handed on.*E\(q_1 \* q_2"):
        loss.estimate({q: Enumerate()}).program()
    alone = IterativeLoss(step, series_var=["x"]).estimate({q: Enumerate()})
    batch = {"x": torch.ones(4, ROWS, 1, dtype=f64), "h": torch.ones(ROWS, 1, dtype=f64)}
    one = step.estimate({q: Enumerate()}).eval({"x": batch["x"][0], "h": batch["h"]})
    torch.testing.assert_close(alone.eval(batch), 4 * one)


def test_a_sequence_of_discrete_steps_is_refused_and_told_what_is_exact() -> None:
    """Its values are K ** T sequences; alone, or integrated out of a joint law."""
    step = Categorical(["z"], ["z_prev"], net=Rows(nn.Parameter(torch.eye(3))), name="q")
    q = Sequence(step, carry={"z": "z_prev"}, init=torch.eye(3)[0])
    p = Sequence(Normal(["x"], ["z"], net=Means(nn.Parameter(torch.ones(3, 1)))), series=["z"])
    bound = E(q, p.log_prob() - q.log_prob())
    for key in (q, "z"):
        with pytest.raises(OptionError, match=r"K \*\* T sequences.*E\(q_1 \* q_2 \* q_3"):
            bound.estimate({key: Enumerate()}).program()
    both = Sequence(p.step_law * step, carry={"z": "z_prev"}, init=torch.eye(3)[0])
    for law in (p * q, both):
        with pytest.raises(
            DensityError, match=r"z is integrated out, with all.*p_1 \* p_2 \* p_3"
        ):
            law.marginalize_var("z").log_prob()
    walk = Sequence(Normal(["z"], ["z_prev"], loc="z_prev", scale=1.0), carry={"z": "z_prev"})
    with pytest.raises(DensityError, match="no closed form"):
        (p * walk).marginalize_var("z").log_prob()


@pytest.mark.parametrize("kind", ["expectation", "marginal"])
def test_the_first_state_of_a_sequence_is_summed(kind: str) -> None:
    """What a given sequence starts from has several values, and the sequence one."""
    make = torch.Generator().manual_seed(0)
    move, start = (
        nn.Parameter(torch.randn(shape, generator=make, dtype=f64)) for shape in ((3, 3), (3,))
    )
    step = Categorical(["z"], ["z_prev"], net=Rows(move), features_shape=[3], name="p")
    p = Sequence(step, carry={"z": "z_prev"}, init="z_0")
    first = Categorical(["z_0"], logits=start, name="p_0")
    z = torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1], [1, 0, 0, 2]])
    log_move, log_start = move.log_softmax(-1), start.log_softmax(-1)
    later = log_move[z[:, :-1], z[:, 1:]].sum(1)
    if kind == "marginal":
        loss = (p * first).marginalize_var("z_0").log_prob()
        wanted = (log_start + log_move[:, z[:, 0]].T).logsumexp(-1) + later
    else:
        loss = enumerated(E(first, p.log_prob()), [first])
        wanted = log_move[:, z[:, 0]].T @ log_start.exp() + later
    agrees(loss, {"z": F.one_hot(z, 3).to(f64)}, wanted, [move, start])
