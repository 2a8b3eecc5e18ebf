"""Images as rows of a table, and the three ways to read their pixels as a random variable.

Let v in [0, 1] be the stored grey value of a pixel. Then x is

    binary   x = 1[v > threshold]         one fixed binary image per row
    dynamic  x ~ Bernoulli(v)             drawn anew at every batch in training;
                                          validation and test are drawn once, with a fixed seed
    grey     x = v                        a mean, not an observation: log p(x) is no likelihood

Numbers on fixed and dynamic pixels differ by one to two nats on MNIST and must not be compared
(Burda, Grosse, Salakhutdinov, "Importance weighted autoencoders", 2016, section 5).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ancestral.core.errors import OptionError, did_you_mean

Pixels = Literal["binary", "dynamic", "grey"]
Images = tuple[np.ndarray, np.ndarray]  # (N, H, W) uint8 and labels (N,) uint8

BINARISATION_SEED = 0  # of the draws that make the dynamic validation and test sets


@dataclass(frozen=True)
class Rebinarise:
    """x ~ Bernoulli(v): the transform that `Model.fit` applies to each batch of dynamic pixels.

    It leaves an image that is binary already as it is, so it may be applied twice.

    Args:
        generator: source of the draws; torch's default generator when None.

    Example:
        >>> import torch
        >>> batch = {"x": torch.tensor([[0.0, 1.0]]), "label": torch.tensor([3])}
        >>> Rebinarise()(batch)
        {'x': tensor([[0., 1.]]), 'label': tensor([3])}
    """

    generator: torch.Generator | None = None

    def __call__(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same batch with its pixels drawn; batch["x"] has shape (B, D), values in [0, 1]."""
        return {**batch, "x": torch.bernoulli(batch["x"], generator=self.generator)}


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set of images in three parts, with everything a report has to say about it.

    Args:
        name: short name, as on the command line.
        pixels: "binary", "dynamic" or "grey" (see the module).
        shape: (channels, height, width) of one image; D is their product.
        description: one sentence: source, how pixels were read, split.
        train: {"x": (N, D) float32, "label": (N,) int64}; intensities when pixels are dynamic.
        validation: the same, for choosing.
        test: the same, for reporting.
        transform: what `Model.fit` applies to each training batch; None when nothing is drawn.

    Example:
        >>> from ancestral.data import digits
        >>> data = digits()
        >>> data.test["x"].shape, data.shape, data.is_likelihood
        (torch.Size([297, 64]), (1, 8, 8), True)
    """

    name: str
    pixels: Pixels
    shape: tuple[int, int, int]
    description: str
    train: dict[str, Tensor]
    validation: dict[str, Tensor]
    test: dict[str, Tensor]
    transform: Rebinarise | None = None

    @property
    def train_and_validation(self) -> dict[str, Tensor]:
        """Both parts as one, where nothing is chosen by the validation part."""
        return {name: torch.cat([self.train[name], self.validation[name]]) for name in self.train}

    @property
    def is_likelihood(self) -> bool:
        """Whether log p(x) of a Bernoulli law is a log-likelihood of this data."""
        return self.pixels != "grey"

    @property
    def dimension(self) -> int:
        """D = channels * height * width, the length of one row of x."""
        return int(np.prod(self.shape))


def image_data(
    name: str,
    *,
    train: Images,
    validation: Images,
    test: Images,
    peak: int,
    threshold: int,
    pixels: str,
    source: str,
) -> ImageData:
    """Read grey images as random variables: v = value / peak, then as `pixels` says.

    Args:
        name: short name of the data set.
        train: images (N, H, W) with values 0..peak, and labels (N,).
        validation: the same.
        test: the same.
        peak: the largest value, white.
        threshold: binary pixels are 1 where value > threshold.
        pixels: "binary", "dynamic" or "grey".
        source: first half of the description.

    Raises:
        OptionError: `pixels` is none of the three words.
    """
    if pixels not in get_args(Pixels):
        raise OptionError(f"pixels={pixels!r}: {did_you_mean(pixels, get_args(Pixels))}")
    rule = {
        "binary": f"binarised at > {threshold}",
        "dynamic": "binarised anew at every batch as Bernoulli(value / "
        f"{peak}), validation and test once with seed {BINARISATION_SEED}",
        "grey": f"grey values / {peak} used as Bernoulli means: not a likelihood",
    }[pixels]
    sizes = " / ".join(str(len(labels)) for _, labels in (train, validation, test))
    random = np.random.RandomState(BINARISATION_SEED)  # its stream is frozen for good by numpy

    def rows(part: Images, *, fixed: bool) -> dict[str, Tensor]:
        images, labels = part
        values = images.reshape(len(images), -1)  # (N, D)
        if pixels == "binary":
            x = (values > threshold).astype(np.float32)
        elif pixels == "dynamic" and fixed:
            x = (random.random_sample(values.shape) * peak < values).astype(np.float32)
        else:
            x = values.astype(np.float32) / np.float32(peak)
        return {
            "x": torch.from_numpy(x),
            "label": torch.from_numpy(labels.astype(np.int64)),
        }

    height, width = train[0].shape[1:]
    return ImageData(
        name=name,
        pixels=pixels,  # type: ignore[arg-type]  # checked above
        shape=(1, int(height), int(width)),
        description=f"{source}; {rule}; train / validation / test: {sizes}",
        train=rows(train, fixed=False),
        validation=rows(validation, fixed=True),
        test=rows(test, fixed=True),
        transform=Rebinarise() if pixels == "dynamic" else None,
    )
