"""What a step over sequences keeps for its derivative grows linearly with their length."""

import torch

from ancestral.zoo.dmm import dmm

ROWS, PIXELS = 4, 6


def kept(function, steps: int) -> int:
    """Bytes of all storages that autograd keeps for backward."""
    seen: dict[int, int] = {}
    alive = []  # so that no address is used twice

    def pack(tensor):
        alive.append(tensor)
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    x = (torch.rand(ROWS, steps, PIXELS) > 0.5).float()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function({"x": x, "m": torch.ones(ROWS, steps)})
    return sum(seen.values())


def test_memory_is_linear_in_time():
    torch.manual_seed(0)
    function = dmm(pixels=PIXELS, latent=3, hidden=5).objective.mean().function()
    kept(function, 40)  # the first batch is looked at in full
    short, middle, long = (kept(function, steps) for steps in (100, 200, 400))
    assert long - middle == 2 * (middle - short)
    assert 0 < long < 5 * short
