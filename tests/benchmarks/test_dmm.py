"""The deep Markov model's benchmark times steps that are equal."""

from benchmarks import dmm


def test_steps_by_hand_are_the_model_s():
    dmm.check_equal(4)


def test_a_step_by_hand_lowers_its_loss():
    step = dmm.Hand(split=True).step(dmm.batch(4))
    first, *_, last = (float(step()) for _ in range(20))
    assert last < first
