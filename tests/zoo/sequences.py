"""Sequences for the zoo's short runs: a note that walks up, with wrong notes, of many lengths."""

import torch
import torch.nn.functional as F
from torch import Tensor

PIXELS, STEPS, NOISE = 8, 8, 0.03


def notes(rows: int, seed: int, *, padded: bool = True) -> dict[str, Tensor]:
    """One note of eight in each step, one higher than before; each pixel is flipped sometimes."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(PIXELS, (rows, 1), generator=generator)
    x = F.one_hot((first + torch.arange(STEPS)) % PIXELS, PIXELS).float()
    flips = (torch.rand(x.shape, generator=generator) < NOISE).float()
    shortest = STEPS // 2 if padded else STEPS
    lengths = torch.randint(shortest, STEPS + 1, (rows, 1), generator=generator)
    mask = (torch.arange(STEPS) < lengths).float()
    return {"x": (x - flips).abs() * mask[..., None], "m": mask}


def independent(train: dict[str, Tensor], test: dict[str, Tensor]) -> float:
    """The constant baseline: each pixel a Bernoulli with its training mean, in nats per step."""
    share = train["x"][train["m"] > 0].mean(0)
    x = test["x"][test["m"] > 0]
    return float((x * share.log() + (1 - x) * (1 - share).log()).sum(-1).mean())


def per_step(bound: Tensor, mask: Tensor) -> float:
    """The bound of all rows in nats per step."""
    return float(bound.sum() / mask.sum())


def switches(rows: int, seed: int) -> dict[str, Tensor]:
    """All pixels on, all off, in turn, from either; each pixel is flipped sometimes."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(2, (rows, 1), generator=generator)
    x = ((first + torch.arange(STEPS)) % 2).float()[..., None].expand(rows, STEPS, PIXELS)
    flips = (torch.rand(x.shape, generator=generator) < NOISE).float()
    return {"x": (x - flips).abs(), "m": torch.ones(rows, STEPS)}
