"""Globals in the Distribution API: one draw for all rows, and one density beside each row's."""

import torch
from torch import Tensor
from torch.distributions import Normal as Gauss

from ancestral.distributions import Gamma, Normal, Sequence

ROWS = 5
P_W = Normal(var=["w"], loc=0.0, scale=1.0, features_shape=[2], plate=None, name="p_w")
FINE = 1e-6  # so that a draw shows its mean


def line(scale: float) -> Normal:
    """y = x w + noise; w joins x along the event, so that it must have its rows."""

    def net(x: Tensor, w: Tensor) -> dict[str, Tensor]:
        both = torch.cat([x, w], -1)
        return {"loc": both[..., :1] * both[..., 1:], "scale": torch.full_like(w, scale)}

    return Normal(var=["y"], cond_var=["x", "w"], net=net, name="p")


def test_one_draw_stands_for_all_rows():
    assert P_W.sample(batch_n=ROWS)["w"].shape == (2,)
    assert P_W.sample(batch_n=ROWS, sample_shape=[3])["w"].shape == (3, 2)


def test_ancestral_sampling_draws_a_global_once():
    x = torch.linspace(1.0, 2.0, ROWS)[:, None]
    for shape in ([], [3]):
        found = (line(FINE) * P_W).sample({"x": x}, sample_shape=shape)
        assert found["w"].shape == (*shape, 2)
        assert found["y"].shape == (*shape, ROWS, 2)
        torch.testing.assert_close(found["y"], x * found["w"].unsqueeze(-2), atol=1e-4, rtol=0)
    hidden = (line(FINE) * P_W).marginalize_var("w").sample({"x": torch.ones(ROWS, 1)})["y"]
    assert (hidden - hidden[0]).abs().max() < 1e-4
    apart = (line(FINE) * P_W).sample({"x": x}, sample_shape=[2])["w"]
    assert not torch.equal(apart[0], apart[1])


def test_globals_of_globals_and_sequences():
    scale = Gamma(var=["s"], concentration=1.0, rate=1.0, features_shape=[2], plate=None)
    p_w = Normal(var=["w"], cond_var=["s"], loc=0.0, scale="s", plate=None, name="p_w")
    step = Normal(var=["z"], cond_var=["z_prev", "w"], features_shape=[2], name="p",
                  net=lambda z_prev, w: {"loc": z_prev + w, "scale": 0 * w + FINE})  # fmt: skip
    joint = Sequence(step, carry={"z": "z_prev"}) * p_w * scale
    found = joint.sample(batch_n=ROWS, length=3)
    assert found["s"].shape == found["w"].shape == (2,)
    steps = torch.arange(1.0, 4.0)[:, None] * found["w"]
    torch.testing.assert_close(found["z"], steps.expand(ROWS, 3, 2), atol=1e-4, rtol=1e-4)


def test_a_given_condition_of_a_global_has_no_rows():
    s, x = torch.tensor([0.5, 2.0]), torch.ones(ROWS, 1)
    p_w = Normal(var=["w"], cond_var=["s"], loc="s", scale=FINE, plate=None, name="p_w")
    found = (line(FINE) * p_w).sample({"s": s, "x": x})
    assert found["w"].shape == (2,)
    torch.testing.assert_close(found["y"], s.expand(ROWS, 2), atol=1e-4, rtol=0)


def test_its_density_stands_beside_that_of_each_row():
    """The batch is not summed, with draws in front or without."""
    joint, x = line(0.5) * P_W, torch.linspace(1.0, 2.0, ROWS)[:, None]
    for shape in ([], [3]):
        found = joint.sample({"x": x}, sample_shape=shape)
        of_w = Gauss(0.0, 1.0).log_prob(found["w"]).sum(-1)
        rows = Gauss(x * found["w"].unsqueeze(-2), 0.5).log_prob(found["y"]).sum(-1)
        one = {**found, "x": x.expand(*shape, ROWS, 1)}  # given with axes of its own, as in Pixyz
        torch.testing.assert_close(joint.get_log_prob(one), rows + of_w.unsqueeze(-1))


def test_the_density_of_sequences_beside_a_global():
    step = Normal(var=["z"], cond_var=["z_prev", "w"], features_shape=[2], name="p",
                  net=lambda z_prev, w: {"loc": z_prev + w, "scale": 0 * w + 1})  # fmt: skip
    joint = Sequence(step, carry={"z": "z_prev"}) * P_W
    found = joint.sample(batch_n=ROWS, length=3)
    before = torch.cat([torch.zeros(ROWS, 1, 2), found["z"][:, :-1]], 1)
    wanted = Gauss(before + found["w"], 1.0).log_prob(found["z"]).sum((1, 2))
    wanted = wanted + Gauss(0.0, 1.0).log_prob(found["w"]).sum()
    torch.testing.assert_close(joint.get_log_prob(found), wanted)
