"""The handwritten digits that scikit-learn carries inside its wheel: 1797 real 8x8 images.

They are the test part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and
Kaynak, 1998), each pixel a count 0..16 of ink in a 4x4 block of the 32x32 scan.
"""

import numpy as np

from ancestral.core.errors import MissingExtraError
from ancestral.data.images import ImageData, image_data

PEAK = 16
THRESHOLD = 7
SPLIT_SEED = 0
SIZES = (1300, 200, 297)  # train, validation, test


def digits(pixels: str = "binary") -> ImageData:
    """1797 images of 8x8 pixels in a fixed split: 1300 train, 200 validation, 297 test.

    The split is a permutation with seed 0, the same on every machine.

    Args:
        pixels: "binary" (value > 7), "dynamic" (drawn as Bernoulli(value / 16)) or "grey".

    Raises:
        MissingExtraError: scikit-learn is not installed (extra `demo`).
        OptionError: `pixels` is none of the three words.

    Example:
        >>> data = digits()
        >>> data.train["x"].shape, data.train["label"][:8].tolist()
        (torch.Size([1300, 64]), [2, 8, 2, 6, 6, 7, 1, 9])
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError(
            "the digits are embedded in scikit-learn, which is not installed: "
            'pip install "ancestral[demo]"'
        ) from error
    bundle = load_digits()
    # RandomState's stream is frozen by numpy, so the split never changes under us.
    order = np.random.RandomState(SPLIT_SEED).permutation(len(bundle.target))
    images = bundle.images.astype(np.uint8)[order]  # (1797, 8, 8)
    labels = bundle.target.astype(np.uint8)[order]
    first, second = SIZES[0], SIZES[0] + SIZES[1]
    return image_data(
        "digits",
        train=(images[:first], labels[:first]),
        validation=(images[first:second], labels[first:second]),
        test=(images[second:], labels[second:]),
        peak=PEAK,
        threshold=THRESHOLD,
        pixels=pixels,
        source="8x8 handwritten digits embedded in scikit-learn (values 0..16)",
    )
