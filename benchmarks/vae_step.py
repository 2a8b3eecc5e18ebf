"""Speed of a training step as a ratio to hand-written PyTorch: ``python -m benchmarks.vae_step``.

One process, one thread unless ``--threads`` says otherwise. The hand-written step is an expert's:
no argument checks, fused Adam, ``set_to_none``, the same networks, parametrisation and closed-form
KL; values are asserted equal first. Blocks of steps are interleaved, and the ratio of each block
to the hand-written one next to it is taken; the table gives the median and the quartiles of at
least 20 such ratios. Pyro and Pixyz stand in the table where they are installed
(``pip install -r benchmarks/requirements.txt``).
"""

import argparse
import functools
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import KL, E
from ancestral.models import Model

Step = Callable[[], Tensor]
BEGIN, END = "<!-- benchmarks.vae_step -->", "<!-- end -->"
SIZES = {
    "batch 8, 16-16-4": (8, 16, 16, 4, 60),
    "batch 128, 784-400-400-10": (128, 784, 400, 10, 6),
    "batch 128, 784-400-400-30": (128, 784, 400, 30, 6),
    "batch 128, 784-2000-2000-10": (128, 784, 2000, 10, 2),
}


class Encoder(nn.Module):
    """q(z|x): one hidden layer, two heads."""

    def __init__(self, pixels: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(pixels, hidden)
        self.loc, self.scale = nn.Linear(hidden, latent), nn.Linear(hidden, latent)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Mean and standard deviation."""
        h = F.relu(self.hidden(x))
        return {"loc": self.loc(h), "scale": F.softplus(self.scale(h))}


class Decoder(nn.Module):
    """p(x|z): one hidden layer, logits."""

    def __init__(self, pixels: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.hidden, self.logits = nn.Linear(latent, hidden), nn.Linear(hidden, pixels)

    def forward(self, z: Tensor) -> Tensor:
        """Logits of the pixels."""
        out: Tensor = self.logits(F.relu(self.hidden(z)))
        return out


def networks(pixels: int, hidden: int, latent: int) -> tuple[Encoder, Decoder]:
    """The same weights for every contestant."""
    torch.manual_seed(0)
    return Encoder(pixels, hidden, latent), Decoder(pixels, hidden, latent)


def by_hand(x: Tensor, hidden: int, latent: int, *, compiled: bool = False) -> Step:
    """An expert's step."""
    encoder, decoder = networks(x.shape[1], hidden, latent)
    params = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(params, lr=1e-3, fused=True)

    def objective(x: Tensor, noise: Tensor) -> Tensor:
        q = encoder(x)
        loc, scale = q["loc"], q["scale"]
        logits = decoder(loc + scale * noise)
        log_p = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
        kl = (0.5 * (scale * scale + loc * loc - 1.0) - scale.log()).sum(1)
        return (kl - log_p).mean()

    loss_of = torch.compile(objective, fullgraph=True) if compiled else objective

    def step() -> Tensor:
        loss = loss_of(x, torch.randn(x.shape[0], latent))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def ours(x: Tensor, hidden: int, latent: int, *, compile: bool | str = False) -> Step:
    """The same model as its equation."""
    encoder, decoder = networks(x.shape[1], hidden, latent)
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[latent], name="p_{prior}")
    p = Bernoulli(var=["x"], cond_var=["z"], net=decoder, name="p")
    q = Normal(var=["z"], cond_var=["x"], net=encoder, name="q")
    loss = (KL(q, prior) - E(q, p.log_prob())).mean()
    model = Model(loss, distributions=[p, q], optimizer_params={"lr": 1e-3}, compile=compile)
    return lambda: model.train({"x": x})


def pixyz(x: Tensor, hidden: int, latent: int) -> Step:
    """Pixyz 0.3.3; its Bernoulli takes probabilities, and its optimizer is fused alike."""
    from pixyz.distributions import Bernoulli as PixyzBernoulli
    from pixyz.distributions import Normal as PixyzNormal
    from pixyz.losses import Expectation, KullbackLeibler
    from pixyz.models import Model as PixyzModel

    encoder, decoder = networks(x.shape[1], hidden, latent)

    class Inference(PixyzNormal):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(var=["z"], cond_var=["x"], name="q")
            self.net = encoder

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return self.net(x)  # type: ignore[no-any-return]

    class Generator(PixyzBernoulli):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(var=["x"], cond_var=["z"], name="p")
            self.net = decoder

        def forward(self, z: Tensor) -> dict[str, Tensor]:
            return {"probs": torch.sigmoid(self.net(z))}

    p, q = Generator(), Inference()
    prior = PixyzNormal(
        loc=torch.tensor(0.0), scale=torch.tensor(1.0), var=["z"], features_shape=[latent]
    )
    loss = (KullbackLeibler(q, prior) - Expectation(q, p.log_prob())).mean()
    options = {"lr": 1e-3, "fused": True}
    model = PixyzModel(loss, distributions=[p, q], optimizer_params=options)
    return lambda: model.train({"x": x.clone()}).detach()  # its cache is keyed by the tensor


def pyro(x: Tensor, hidden: int, latent: int) -> Step:
    """Pyro 1.9.2 with its analytic-KL objective."""
    import pyro as ppl
    import pyro.distributions as dist
    from pyro.infer import SVI, TraceMeanField_ELBO
    from pyro.optim import Adam

    encoder, decoder = networks(x.shape[1], hidden, latent)

    def model(x: Tensor) -> None:
        ppl.module("decoder", decoder)
        with ppl.plate("rows", x.shape[0]):
            z = ppl.sample("z", dist.Normal(torch.zeros(latent), 1.0).expand([latent]).to_event(1))
            ppl.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        ppl.module("encoder", encoder)
        with ppl.plate("rows", x.shape[0]):
            ppl.sample("z", dist.Normal(**encoder(x)).to_event(1))

    ppl.clear_param_store()
    ppl.enable_validation(False)
    svi = SVI(model, guide, Adam({"lr": 1e-3}), TraceMeanField_ELBO())
    return lambda: torch.tensor(svi.step(x) / x.shape[0])


def ratios(hand: Step, other: Step, steps: int, blocks: int) -> list[float]:
    """The time of each block of steps over that of the hand-written block beside it."""
    out = []
    for block in range(blocks):
        times: dict[bool, float] = {}
        for first in (True, False) if block % 2 else (False, True):
            step, start = (hand if first else other), time.process_time()
            for _ in range(steps):
                step()
            times[first] = time.process_time() - start
        out.append(times[False] / times[True])
    return out


def check_equal(hand: Step, other: Step, steps: int = 3) -> None:
    """The first losses of both, from one seed."""
    told = []
    for step in (hand, other):
        torch.manual_seed(1)
        told.append(torch.stack([step() for _ in range(steps)]))
    torch.testing.assert_close(told[0], told[1], rtol=1e-4, atol=1e-3)


def rivals_of(
    x: Tensor, hidden: int, latent: int, *, compiled: bool
) -> dict[str, tuple[Callable[[], Step], Callable[[], Step]]]:
    """Who is timed against whom: each pair is the hand-written step and the other, to be made."""
    sizes = (x, hidden, latent)

    def hand(compiled: bool = False) -> Callable[[], Step]:
        return functools.partial(by_hand, *sizes, compiled=compiled)

    def mine(compile: bool | str = False) -> Callable[[], Step]:
        return functools.partial(ours, *sizes, compile=compile)

    rivals: dict[str, tuple[Callable[[], Step], Callable[[], Step]]] = {
        "Ancestral": (hand(), mine())
    }
    for name, module, make in (("Pixyz 0.3.3", "pixyz", pixyz), ("Pyro 1.9.2", "pyro", pyro)):
        if importlib.util.find_spec(module):
            rivals[name] = (hand(), functools.partial(make, *sizes))
    if compiled:
        rivals["Ancestral, both compiled"] = (hand(compiled=True), mine(True))
        rivals['Ancestral, compile="gradient", against eager'] = (hand(), mine("gradient"))
    return rivals


def quartiles(hand: Step, other: Step, steps: int, blocks: int) -> tuple[float, ...]:
    """Lower quartile, median and upper quartile of the ratios."""
    return tuple(statistics.quantiles(ratios(hand, other, steps, blocks), n=4))


def rows(options: argparse.Namespace) -> Iterator[str]:
    """The lines of the table."""
    yield "| step | contestant | lower quartile | median | upper quartile |"
    yield "|---|---|---|---|---|"
    cold: list[str] = []
    for size, (batch, pixels, hidden, latent, steps) in SIZES.items():
        if options.only not in size:
            continue
        torch.manual_seed(2)
        x = (torch.rand(batch, pixels) > 0.5).float()
        rivals = rivals_of(x, hidden, latent, compiled=options.compile)
        for name, (make_hand, make_other) in rivals.items():
            hand, other = make_hand(), make_other()
            start = time.perf_counter()
            other(), other(), other()
            if "ompile" in name:
                cold.append(f"{name}, {size}: {time.perf_counter() - start:.1f} s")
            if name.startswith("Ancestral"):
                check_equal(make_hand(), make_other())
            hand(), hand(), hand()
            found = quartiles(hand, other, steps, options.blocks)
            yield f"| {size} | {name} | " + " | ".join(f"{r:.3f}" for r in found) + " |"
    if cold:
        yield ""
        yield "Until the third step is done, compilation included: " + "; ".join(cold) + "."


def main() -> None:
    """Print the table, and put it into a file between its marks if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="time compiled steps too")
    parser.add_argument("--only", default="", help="sizes with this in their name")
    parser.add_argument("--write", type=Path, help="a file with the marks of this table")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    title = f"torch {torch.__version__}, {options.threads} thread(s), {options.blocks} blocks"
    lines = [title, ""]
    sys.stdout.write("\n".join(lines) + "\n")
    for line in rows(options):
        lines.append(line)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    if options.write:
        text = options.write.read_text("utf-8")
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        table = "\n".join(lines)
        options.write.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
