"""Densities, draws and divergences of elementary laws, written from their formulas.

Parameters are float64 tensors that broadcast against a value; ``event`` is the shape of a value.
Each function returns one number per component, which the caller sums.
"""

import itertools
import math
from typing import Any

import torch
from torch import Tensor

Params = dict[str, Tensor]

NOISE = {
    "normal": "normal",
    "laplace": "laplace",
    "bernoulli": "uniform",
    "onehot": "log exponential",
    "index": "log exponential",
}
CATEGORICAL = ("onehot", "index")
DISCRETE = ("bernoulli", "onehot", "index")


def base_noise(kind: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal, uniform away from the ends, or the logarithm of an exponential draw."""
    if kind == "normal":
        return torch.randn(shape, dtype=torch.float64, generator=generator)
    u = 0.02 + 0.96 * torch.rand(shape, dtype=torch.float64, generator=generator)
    if kind == "laplace":
        return (0.5 - u).sign() * torch.log1p(-2 * (u - 0.5).abs())
    return u if kind == "uniform" else torch.log(-torch.log(u))


def _log_odds(p: Params) -> Tensor:
    """log(pi / (1 - pi))."""
    return p["logits"] if "logits" in p else p["probs"].log() - (1 - p["probs"]).log()


def _log_pi(p: Params) -> Tensor:
    """Normalised log probabilities of categories."""
    weight = p["logits"] if "logits" in p else p["probs"].log()
    return weight - torch.logsumexp(weight, -1, keepdim=True)


def draw(family: str, noise: Tensor, p: Params) -> tuple[Tensor, float]:
    """A draw as a function of noise, and how far the noise is from where the draw jumps."""
    if family == "normal":
        return p["loc"] + p["scale"] * noise, math.inf
    if family == "laplace":
        return p["loc"] + p["scale"] * noise, math.inf
    if family == "bernoulli":
        gap = 1 / (1 + torch.exp(-_log_odds(p))) - noise
        return (gap > 0).double(), float(gap.detach().abs().min())
    score = (p["logits"] if "logits" in p else p["probs"].log()) - noise
    top = score.detach().topk(2, -1).values
    winner = score.argmax(-1)
    margin = float((top[..., 0] - top[..., 1]).min())
    if family == "index":
        return winner, margin
    return torch.eye(score.shape[-1], dtype=torch.float64)[winner], margin


def log_density(family: str, x: Tensor, p: Params) -> Tensor:
    """The log density of each component (of each vector, for categories)."""
    if family == "normal":
        variance = p["scale"] ** 2
        return -((x - p["loc"]) ** 2 / variance + torch.log(2 * math.pi * variance)) / 2
    if family == "laplace":
        return -torch.log(2 * p["scale"]) - (x - p["loc"]).abs() / p["scale"]
    if family == "bernoulli":
        eta = _log_odds(p)
        return x * eta - torch.logaddexp(eta, torch.zeros_like(eta))
    log_pi = _log_pi(p)
    if family == "onehot":
        return (x * log_pi).sum(-1)
    chosen = torch.eye(log_pi.shape[-1], dtype=torch.float64)[x.long()]
    return (chosen * log_pi).sum(-1)


def kl(family: str, other: str, q: Params, p: Params) -> Tensor:
    """KL[q || p], ``q`` of a family and ``p`` of another, which for most is the same."""
    if family != other:
        return -entropy(family, q) - _mean_log_density(family, other, q, p)
    if family == "normal":
        spread = q["scale"] ** 2 + (q["loc"] - p["loc"]) ** 2
        return torch.log(p["scale"] / q["scale"]) + spread / (2 * p["scale"] ** 2) - 0.5
    if family == "laplace":
        d = (q["loc"] - p["loc"]).abs()
        inside = q["scale"] * torch.exp(-d / q["scale"]) + d
        return torch.log(p["scale"] / q["scale"]) + inside / p["scale"] - 1
    if family == "bernoulli":
        a, b = _log_odds(q), _log_odds(p)
        pi = 1 / (1 + torch.exp(-a))
        zero = torch.zeros_like(a)
        return pi * (a - b) - torch.logaddexp(a, zero) + torch.logaddexp(b, zero)
    log_q, log_p = _log_pi(q), _log_pi(p)
    return (log_q.exp() * (log_q - log_p)).sum(-1)


def _mean_log_density(family: str, other: str, q: Params, p: Params) -> Tensor:
    """E_q[log p] of a Laplace law under a normal one, and the other way round."""
    d = q["loc"] - p["loc"]
    if (family, other) == ("normal", "laplace"):
        t = d / (math.sqrt(2) * q["scale"])
        away = q["scale"] * math.sqrt(2 / math.pi) * torch.exp(-(t**2)) + d * torch.special.erf(t)
        return -torch.log(2 * p["scale"]) - away / p["scale"]
    second = 2 * q["scale"] ** 2 + d**2
    return -(second / p["scale"] ** 2 + torch.log(2 * math.pi * p["scale"] ** 2)) / 2


def entropy(family: str, p: Params) -> Tensor:
    """H[p] of each component."""
    if family == "normal":
        return torch.log(2 * math.pi * math.e * p["scale"] ** 2) / 2
    if family == "laplace":
        return torch.log(2 * math.e * p["scale"])
    if family == "bernoulli":
        eta = _log_odds(p)
        return torch.logaddexp(eta, torch.zeros_like(eta)) - eta / (1 + torch.exp(-eta))
    log_pi = _log_pi(p)
    return -(log_pi.exp() * log_pi).sum(-1)


def table(law: dict[str, Any]) -> Tensor:
    """Every value of a discrete law, in the order of counting."""
    event = law["event"]
    if law["family"] == "bernoulli":
        rows = list(itertools.product((0.0, 1.0), repeat=math.prod(event)))
        return torch.tensor(rows, dtype=torch.float64).reshape(-1, *event)
    if law["family"] == "onehot":
        return torch.eye(event[-1], dtype=torch.float64)
    return torch.arange(law["classes"])
