"""The latent space as a map: posterior means projected to a plane, coloured by class.

With Z the (N, D) matrix of means, its centred form is U S V'; the map is U S restricted to the two
largest singular values (principal components), and s_i^2 / sum s^2 is the share of variance.
"""

import io
from importlib.util import find_spec

import torch
from torch import Tensor

from ancestral.core.errors import MissingExtraError

# Ten colours of similar lightness that remain apart on paper and in print.
COLOURS = (
    "#4c6fb1", "#d98032", "#4f9d69", "#c0504d", "#8064a2",
    "#8c6d4f", "#d879a9", "#7f7f7f", "#a9a63b", "#35a3b5",
)  # fmt: skip


def principal_components(values: Tensor) -> tuple[Tensor, Tensor]:
    """The two principal components of the rows, and their shares of the variance.

    Args:
        values: (N, D); one dimension is completed by zeros.

    Returns:
        coordinates (N, 2) and shares (2,); the sign of an axis is such that its largest loading
        is positive.

    Example:
        >>> points, shares = principal_components(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        >>> points.round(decimals=6).tolist(), shares.round(decimals=6).tolist()
        ([[1.0, 0.0], [-1.0, 0.0]], [1.0, 0.0])
    """
    values = values.detach().to("cpu", torch.float64).flatten(1)
    values = torch.nn.functional.pad(values, (0, max(0, 2 - values.shape[1])))
    centred = values - values.mean(0)
    u, s, vt = torch.linalg.svd(centred, full_matrices=False)
    # LAPACK leaves the sign of an axis open; fixing it makes the picture repeatable.
    largest = vt[:2].gather(1, vt[:2].abs().argmax(1, keepdim=True)).sign().squeeze(1)
    shares = s.square() / s.square().sum().clamp_min(1e-300)
    return u[:, :2] * s[:2] * largest, shares[:2]


def require_matplotlib() -> None:
    """Raise the error that names the pip command unless matplotlib is installed.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError(
            "the picture of the latent space needs matplotlib, which is not installed: "
            'pip install "ancestral[demo]"'
        )


def latent_picture(means: Tensor, labels: Tensor, *, title: str) -> bytes:
    """A scatter of posterior means in the plane of their principal components, as PNG.

    Args:
        means: (N, D) means of q(z|x).
        labels: (N,) classes, small whole numbers; each has its colour and its number.
        title: words above the picture.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure  # no pyplot: it keeps figures in a global table
    from matplotlib.patheffects import withStroke

    points, shares = principal_components(means)
    figure = Figure(figsize=(6.4, 6.0), dpi=150, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    area = 16 if len(points) < 600 else 7
    for label in sorted(set(labels.tolist())):
        x, y = points[(labels == label).cpu()].T.numpy()
        colour = COLOURS[int(label) % len(COLOURS)]
        name = str(int(label))
        axes.scatter(x, y, s=area, color=colour, alpha=0.65, linewidths=0, label=name)
        axes.annotate(
            name,
            (float(x.mean()), float(y.mean())),
            color=colour,
            fontsize=17,
            fontweight="bold",
            ha="center",
            va="center",
            path_effects=[withStroke(linewidth=3.5, foreground="white")],
        )
    axes.set_title(title, fontsize=11, color="#333333", loc="left")
    axes.set_xlabel(f"first component ({shares[0]:.0%} of variance)", color="#555555")
    axes.set_ylabel(f"second component ({shares[1]:.0%} of variance)", color="#555555")
    axes.set_aspect("equal", adjustable="datalim")
    axes.tick_params(colors="#888888", labelsize=8, length=0)
    axes.grid(color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
    figure.legend(
        loc="outside lower center",
        ncols=10,
        frameon=False,
        fontsize=9,
        handletextpad=0.1,
        columnspacing=1.2,
        labelcolor="#555555",
    )
    for spine in axes.spines.values():
        spine.set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
