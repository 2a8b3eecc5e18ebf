"""Speed of IWAE, JMVAE and M2 steps as a ratio to hand-written PyTorch.

Run by ``python -m benchmarks.latent_steps``. As in :mod:`benchmarks.vae_step`: one process, one
thread unless told otherwise, an expert's step by hand (no argument checks, fused Adam,
``set_to_none``, the same networks, K draws and the ten labels in one vectorised pass), values
asserted equal first, blocks interleaved; the table gives quartiles of the ratios of blocks.
"""

import argparse
import math
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.distributions import Bernoulli, Categorical, Normal
from ancestral.losses import KL, E, Enumerate, H
from ancestral.models import Model
from ancestral.nn import MLP
from benchmarks.vae_step import check_equal, quartiles

Step = Callable[[], Tensor]
PIXELS, LABELS = 784, 10
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def data(rows: int) -> tuple[Tensor, Tensor]:
    """Binary images and one-hot labels."""
    torch.manual_seed(2)
    x = (torch.rand(rows, PIXELS) > 0.5).float()
    return x, torch.eye(LABELS)[torch.randint(LABELS, (rows,))]


def stepping(nets: list[MLP], objective: Callable[[], Tensor]) -> Step:
    """An expert's step on an objective."""
    weights = [w for net in nets for w in net.parameters()]
    optimizer = torch.optim.Adam(weights, lr=1e-3, fused=True)

    def step() -> Tensor:
        loss = objective()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def training(loss: object, nets: list[MLP], batch: dict[str, Tensor]) -> Step:
    """The step of a model."""
    options = {"lr": 1e-3, "fused": True}
    model = Model(loss, distributions=[nn.ModuleList(nets)], optimizer_params=options)
    return lambda: model.train(batch)


def halves(out: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation from one output."""
    loc, raw = out.chunk(2, -1)
    return loc, F.softplus(raw)


def log_bernoulli(logits: Tensor, x: Tensor) -> Tensor:
    """log p(x), summed over pixels."""
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


def kl(loc: Tensor, scale: Tensor) -> Tensor:
    """KL from the standard normal law."""
    return (0.5 * (scale * scale + loc * loc - 1.0) - scale.log()).sum(-1)


def iwae() -> tuple[Step, Step]:
    """K = 50 draws of 20 images."""
    rows, k, latent = 20, 50, 50
    x, _ = data(rows)

    def networks() -> list[MLP]:
        torch.manual_seed(0)
        return [MLP(PIXELS, 2 * latent, (200, 200)), MLP(latent, PIXELS, (200, 200))]

    def by_hand() -> Step:
        nets = networks()
        encoder, decoder = nets

        def objective() -> Tensor:
            loc, scale = halves(encoder(x))
            eps = torch.randn(k, rows, latent)
            z = loc + scale * eps
            logits = decoder(z.flatten(0, 1)).view(k, rows, PIXELS)
            log_p = -F.binary_cross_entropy_with_logits(
                logits, x.expand(k, rows, PIXELS), reduction="none"
            ).sum(-1)
            log_prior = (-0.5 * z * z - HALF_LOG_TWO_PI).sum(-1)
            log_q = (-0.5 * ((z - loc) / scale) ** 2 - scale.log() - HALF_LOG_TWO_PI).sum(-1)
            return -((log_p + log_prior - log_q).logsumexp(0) - math.log(k)).mean()

        return stepping(nets, objective)

    def ours() -> Step:
        nets = networks()
        prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[latent], name="p")
        q = Normal(var=["z"], cond_var=["x"], net=nets[0], name="q")
        p = Bernoulli(var=["x"], cond_var=["z"], net=nets[1], name="p")
        log_w = (p * prior).log_prob() - q.log_prob()
        return training(-E(q.iid(k=k), log_w.exp().mean("k").log()).mean(), nets, {"x": x})

    return by_hand(), ours()


def jmvae() -> tuple[Step, Step]:
    """A joint encoder and one of each modality, 128 rows."""
    rows, latent, a = 128, 64, 0.1
    x, y = data(rows)

    def networks() -> list[MLP]:
        torch.manual_seed(0)
        sizes = ((PIXELS + LABELS, 2 * latent), (PIXELS, 2 * latent), (LABELS, 2 * latent))
        return [MLP(i, o, (512,)) for i, o in (*sizes, (latent, PIXELS), (latent, LABELS))]

    def by_hand() -> Step:
        nets = networks()
        joint, of_x, of_y, to_x, to_y = nets

        def apart(loc: Tensor, scale: Tensor, m: Tensor, s: Tensor) -> Tensor:
            r, d = scale / s, (loc - m) / s
            return (0.5 * (r * r + d * d - 1.0) - r.log()).sum(1)

        def objective() -> Tensor:
            loc, scale = halves(joint(torch.cat([x, y], 1)))
            z = loc + scale * torch.randn(rows, latent)
            log_p = log_bernoulli(to_x(z), x) + (y * to_y(z).log_softmax(1)).sum(1)
            others = apart(loc, scale, *halves(of_x(x))) + apart(loc, scale, *halves(of_y(y)))
            return (kl(loc, scale) + a * others - log_p).mean()

        return stepping(nets, objective)

    def ours() -> Step:
        nets = networks()
        prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[latent], name="p")
        q = Normal(var=["z"], cond_var=["x", "y"], net=nets[0], name="q")
        q_x = Normal(var=["z"], cond_var=["x"], net=nets[1], name="q")
        q_y = Normal(var=["z"], cond_var=["y"], net=nets[2], name="q")
        p_x = Bernoulli(var=["x"], cond_var=["z"], net=nets[3], name="p")
        p_y = Categorical(var=["y"], cond_var=["z"], net=nets[4], name="p")
        bound = E(q, (p_x * p_y).log_prob()) - KL(q, prior)
        loss = -(bound - a * (KL(q, q_x) + KL(q, q_y))).mean()
        return training(loss, nets, {"x": x, "y": y})

    return by_hand(), ours()


def m2() -> tuple[Step, Step]:
    """100 rows with a label, 100 without: these with each of the ten labels."""
    rows, latent, alpha = 100, 50, 20.0
    x, y = data(rows)
    xu = data(2 * rows)[0][rows:]
    every = torch.eye(LABELS)

    def networks() -> list[MLP]:
        torch.manual_seed(0)
        sizes = ((PIXELS + LABELS, 2 * latent), (PIXELS, LABELS), (LABELS + latent, PIXELS))
        return [MLP(i, o, (256,)) for i, o in sizes]

    def by_hand() -> Step:
        nets = networks()
        encoder, classifier, decoder = nets

        def bound(x: Tensor, y: Tensor, eps: Tensor) -> Tensor:
            loc, scale = halves(encoder(torch.cat([x, y], -1)))
            z = loc + scale * eps
            log_p = log_bernoulli(decoder(torch.cat([y, z], -1)), x)
            log_prior = (-0.5 * z * z - HALF_LOG_TWO_PI).sum(-1)
            log_q = (-0.5 * ((z - loc) / scale) ** 2 - scale.log() - HALF_LOG_TWO_PI).sum(-1)
            return log_p + log_prior - log_q - math.log(LABELS)

        def objective() -> Tensor:
            labelled = bound(x, y, torch.randn(rows, latent))
            wide = xu.expand(LABELS, rows, PIXELS).reshape(-1, PIXELS)
            labels = every[:, None].expand(LABELS, rows, LABELS).reshape(-1, LABELS)
            eps = torch.randn(LABELS, rows, latent).view(-1, latent)
            each = bound(wide, labels, eps).view(LABELS, rows)
            log_pi = classifier(xu).log_softmax(1)
            pi = log_pi.exp()
            unlabelled = (pi.T * each).sum(0) - (pi * log_pi).sum(1)
            own = (y * classifier(x).log_softmax(1)).sum(1)
            return -(labelled.mean() + unlabelled.mean() + alpha * own.mean())

        return stepping(nets, objective)

    def ours() -> Step:
        nets = networks()
        p_z = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[latent], name="p")
        p_y = Categorical(probs=torch.ones(LABELS) / LABELS, var=["y"], name="p")
        q_z = Normal(var=["z"], cond_var=["x", "y"], net=nets[0], name="q")
        q_y = Categorical(var=["y"], cond_var=["x"], net=nets[1], name="q")
        p = Bernoulli(var=["x"], cond_var=["y", "z"], net=nets[2], name="p")
        labelled = E(q_z, (p * p_y * p_z).log_prob() - q_z.log_prob())
        unlabelled = E(q_y, labelled) + H(q_y)
        whole = labelled.mean() + unlabelled.replace_var(x="x_u").mean()
        loss = -(whole + alpha * q_y.log_prob().mean()).estimate({q_y: Enumerate()})
        return training(loss, nets, {"x": x, "y": y, "x_u": xu})

    return by_hand(), ours()


SENTENCES: dict[str, tuple[Callable[[], tuple[Step, Step]], float]] = {
    "IWAE, K = 50, batch 20, 784-200-200-50": (iwae, 1.03),
    "JMVAE, batch 128, 784+10, 512, 64": (jmvae, 1.05),
    "M2, enumerated, batch 100 + 100, 784-256-50": (m2, 1.05),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5, help="of each block")
    parser.add_argument("--only", default="", help="sentences with this in their name")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sys.stdout.write(
        f"torch {torch.__version__}, {options.threads} thread(s), {options.blocks} blocks\n\n"
        "| step | lower quartile | median | upper quartile | wanted |\n|---|---|---|---|---|\n"
    )
    for name, (make, wanted) in SENTENCES.items():
        if options.only not in name:
            continue
        check_equal(*make())
        hand, ours = make()
        for _ in range(3):
            hand(), ours()
        found = quartiles(hand, ours, options.steps, options.blocks)
        told = " | ".join(f"{ratio:.3f}" for ratio in found)
        sys.stdout.write(f"| {name} | {told} | {wanted} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
