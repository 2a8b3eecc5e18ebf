"""Speed of steps of several players, to PyTorch by hand: ``python -m benchmarks.adversarial``.

* GAN, in turn: the expert draws the fake batch of the discriminator's step without a graph, and
  asks ``backward(inputs=own)`` for the gradient of the generator alone;
* FactorVAE, together: one forward pass, a gradient for each player at the same weights.

As in :mod:`benchmarks.vae_step`: one process, values asserted equal first, interleaved blocks.
"""

import argparse
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.distributions import Bernoulli, EmpiricalDistribution, Implicit, Normal
from ancestral.losses import KL, AdversarialKullbackLeibler, E, Function, values
from ancestral.models import Model, Player
from benchmarks.vae_step import Step, check_equal, networks, quartiles

GAMMA = 6.0
SIZES = {  # rows, width of x, of hidden layers, of the noise; steps in a block
    "batch 64, 784-256-256-32": (64, 784, 256, 32, 8),
    "batch 256, 784-512-512-64": (256, 784, 512, 64, 3),
}


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.LeakyReLU(0.2),
        nn.Linear(hidden, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, outputs),
    )  # fmt: skip


def pair(width: int, hidden: int, noise: int) -> tuple[nn.Sequential, nn.Sequential]:
    """A generator and a discriminator with the same weights for every contestant."""
    torch.manual_seed(0)
    return mlp(noise, hidden, width), mlp(width, hidden, 1)


def gan_by_hand(x: Tensor, hidden: int, noise: int) -> Step:
    """An expert's round: the discriminator, then the generator."""
    generator, critic = pair(x.shape[1], hidden, noise)
    own = list(generator.parameters())
    g_step = torch.optim.Adam(own, lr=2e-4, fused=True)
    d_step = torch.optim.Adam(critic.parameters(), lr=2e-4, fused=True)

    def step() -> Tensor:
        with torch.no_grad():
            fake = generator(torch.randn(x.shape[0], noise))
        d_loss = F.softplus(-critic(x)).mean() + F.softplus(critic(fake)).mean()
        d_step.zero_grad(set_to_none=True)
        d_loss.backward()
        d_step.step()
        loss = F.softplus(-critic(generator(torch.randn(x.shape[0], noise)))).mean()
        g_step.zero_grad(set_to_none=True)
        loss.backward(inputs=own)
        g_step.step()
        return torch.stack([loss.detach(), d_loss.detach()])

    return step


def gan(x: Tensor, hidden: int, noise: int) -> Step:
    """The same game as two players."""
    generator, critic = pair(x.shape[1], hidden, noise)
    p = Implicit(generator, var=["x"], noise=[noise], name="p")
    d, v = Function(critic, name="d"), values("x")
    data = EmpiricalDistribution(["x"])
    value = E(data, d(v).sigmoid().log()) + E(p, (1 - d(v).sigmoid()).log())
    players = [
        Player("d", maximise=value, over=[d]),
        Player("g", minimise=-E(p, d(v).sigmoid().log()), over=[p]),
    ]
    model = Model(players=players, optimizer_params={"lr": 2e-4})

    def step() -> Tensor:
        told = model.train({"x": x})
        return torch.stack([told["g"], -told["d"]])

    return step


def shifted(z: Tensor) -> Tensor:
    """Column j from row i + s_j, with shifts s that differ."""
    rows = torch.arange(len(z))[:, None] + torch.randperm(len(z))[: z.shape[1]]
    return z.gather(0, rows % len(z))


def factor_vae_by_hand(x: Tensor, hidden: int, latent: int) -> Step:
    """An expert's step: one pass, two gradients, two updates."""
    encoder, decoder = networks(x.shape[1], hidden, latent)
    critic = mlp(latent, hidden, 1)
    own, theirs = [*encoder.parameters(), *decoder.parameters()], list(critic.parameters())
    step_of = torch.optim.Adam(own, lr=1e-3, fused=True)
    d_step = torch.optim.Adam(theirs, lr=1e-3, fused=True)

    def step() -> Tensor:
        q = encoder(x)
        loc, scale = q["loc"], q["scale"]
        z = loc + scale * torch.randn(x.shape[0], latent)
        log_p = -F.binary_cross_entropy_with_logits(decoder(z), x, reduction="none").sum(1)
        kl = (0.5 * (scale * scale + loc * loc - 1.0) - scale.log()).sum(1)
        logit = critic(z)
        loss = (kl - log_p).mean() + GAMMA * logit.mean()
        other = critic(shifted(z.detach()))
        d_loss = F.softplus(-logit).mean() + F.softplus(other).mean()
        step_of.zero_grad(set_to_none=True)
        d_step.zero_grad(set_to_none=True)
        loss.backward(inputs=own, retain_graph=True)
        d_loss.backward(inputs=theirs)
        step_of.step()
        d_step.step()
        return loss.detach()

    return step


def factor_vae(x: Tensor, hidden: int, latent: int) -> Step:
    """Sentence 5, two players together."""
    encoder, decoder = networks(x.shape[1], hidden, latent)
    critic = mlp(latent, hidden, 1)
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[latent], name="p_{prior}")
    p = Bernoulli(var=["x"], cond_var=["z"], net=decoder, name="p")
    q = Normal(var=["z"], cond_var=["x"], net=encoder, name="q")
    q_agg = (q * EmpiricalDistribution(["x"])).marginalize_var("x")
    d = Function(critic, name="d")
    tc = AdversarialKullbackLeibler(q_agg, q_agg.factorized(), discriminator=d)
    vae = E(q, p.log_prob()) - KL(q, prior) - GAMMA * tc
    players = [
        Player("vae", minimise=-vae.mean(), over=[p, q]),
        Player("d", maximise=tc.dual(), over=[d]),
    ]
    model = Model(players=players, order="together", optimizer_params={"lr": 1e-3})
    return lambda: model.train({"x": x})["vae"]


Make = Callable[[Tensor, int, int], Step]
CONTESTS: dict[str, tuple[Make, Make, int]] = {  # the steps whose values are compared
    "GAN, in turn": (gan_by_hand, gan, 3),
    "FactorVAE, together": (factor_vae_by_hand, factor_vae, 1),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="contests with this in their name")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sys.stdout.write(
        f"torch {torch.__version__}, {options.threads} thread(s), {options.blocks} blocks\n\n"
        "| step | size | lower quartile | median | upper quartile |\n|---|---|---|---|---|\n"
    )
    for name, (by_hand, ours, steps) in CONTESTS.items():
        if options.only not in name:
            continue
        for size, (rows, width, hidden, noise, block) in SIZES.items():
            torch.manual_seed(2)
            x = (torch.rand(rows, width) > 0.5).float()
            check_equal(by_hand(x, hidden, noise), ours(x, hidden, noise), steps)
            hand, other = by_hand(x, hidden, noise), ours(x, hidden, noise)
            for _ in range(3):
                hand(), other()
            found = quartiles(hand, other, block, options.blocks)
            told = " | ".join(f"{r:.3f}" for r in found)
            sys.stdout.write(f"| {name} | {size} | {told} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
