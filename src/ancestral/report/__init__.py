"""What a run leaves behind: its folder, configuration, metrics, pictures and one HTML page.

Example:
    >>> import tempfile
    >>> from ancestral.report import MetricsWriter, create_folder, read_metrics
    >>> folder = create_folder(tempfile.mkdtemp() + "/vae")
    >>> with MetricsWriter(folder / "metrics.jsonl") as metrics:
    ...     metrics.write("epoch", epoch=1, loss=23.5)
    >>> read_metrics(folder / "metrics.jsonl")
    [{'event': 'epoch', 'epoch': 1, 'loss': 23.5}]
"""

from ancestral.report.config import RunConfig, read_config, write_config
from ancestral.report.environment import environment
from ancestral.report.folder import create_folder, free_path
from ancestral.report.latent import latent_picture, require_matplotlib
from ancestral.report.metrics import MetricsWriter, read_metrics
from ancestral.report.page import Page, Picture, Result, write_page
from ancestral.report.pictures import image_grid, png, scatter

__all__ = [
    "MetricsWriter",
    "Page",
    "Picture",
    "Result",
    "RunConfig",
    "create_folder",
    "environment",
    "free_path",
    "image_grid",
    "latent_picture",
    "png",
    "read_config",
    "read_metrics",
    "require_matplotlib",
    "scatter",
    "write_config",
    "write_page",
]
