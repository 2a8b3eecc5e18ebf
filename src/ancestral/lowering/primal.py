"""Pass: a function's value and its derivative along a direction at the same point are one pass.

Forward mode computes the value on the way, so that a loss with both ``u(x)`` and ``u.jvp((x,), v)``
runs the network once.
"""

from collections.abc import Sequence

from ancestral.program import instructions as ir

PARTS = ("value", "derivative")


def one_pass(steps: Sequence[ir.Step]) -> tuple[ir.Step, ...]:
    """The steps with each call of a function that is also pushed forward at its point merged.

    Not where the direction depends on the function's value there, which then comes first.
    """
    made = {step.out: step for step in steps}
    calls = {(s.fn, s.args): s for s in steps if isinstance(s, ir.Call)}
    out: dict[ir.Register, ir.Step] = dict(made)
    for push in [s for s in steps if type(s) is ir.Push]:
        call = calls.pop((push.fn, push.args), None)
        if call is None or call.out.axes != push.out.axes or _reads(push, call.out, made):
            continue
        pair = ir.Register(f"{push.out.name} and its value", push.out.axes)
        out[pair] = ir.PushBoth(pair, push.fn, push.args, push.along, push.text)
        out[call.out] = ir.Part(call.out, pair, 0, PARTS)
        out[push.out] = ir.Part(push.out, pair, 1, PARTS)
    return tuple(steps) if len(out) == len(made) else _in_order(out)


def _reads(step: ir.Step, register: ir.Register, made: dict[ir.Register, ir.Step]) -> bool:
    """Whether a step depends on a register, by way of others too."""
    seen: set[ir.Register] = set()
    open_ = list(ir.Program.operands(step))
    while open_:
        found = open_.pop()
        if found is register:
            return True
        if found not in seen and found in made:
            seen.add(found)
            open_ += ir.Program.operands(made[found])
    return False


def _in_order(steps: dict[ir.Register, ir.Step]) -> tuple[ir.Step, ...]:
    """The steps as they stand, each behind what it reads."""
    out: dict[ir.Register, ir.Step] = {}
    for register in steps:
        open_ = [register]
        while open_:
            first = [
                r for r in ir.Program.operands(steps[open_[-1]]) if r in steps and r not in out
            ]
            if first:
                open_.append(first[0])
                continue
            done = open_.pop()
            out.setdefault(done, steps[done])
    return tuple(out.values())
