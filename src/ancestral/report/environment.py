"""What a result depends on besides its configuration: versions and threads, no host, no user."""

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from ancestral._version import __version__

PACKAGES = ("torch", "numpy", "safetensors", "pydantic")


def environment(device: str = "cpu") -> dict[str, str]:
    """Versions of the parts that computed, kind of machine, threads and device.

    Args:
        device: a torch device; an accelerator is given by its product name.

    Example:
        >>> sorted(environment())[:4]
        ['ancestral', 'device', 'numpy', 'pydantic']
    """
    found = {"ancestral": __version__, "python": platform.python_version()}
    found |= {package: _version(package) for package in PACKAGES}
    # torch's own string tells the build (+cpu, +cu128), the package's does not always
    found["torch"] = str(torch.__version__)
    found["system"] = f"{platform.system()} {platform.machine()}"
    found["threads"] = str(torch.get_num_threads())
    kind = torch.device(device)
    found["device"] = (
        torch.cuda.get_device_name(kind) if kind.type == "cuda" else kind.type.upper()
    )
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
