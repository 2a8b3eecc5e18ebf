"""The command line: ``ancestral train vae``, ``show``, ``reproduce``, ...

Torch is imported inside the commands, so that ``ancestral --help`` answers at once.
"""

from ancestral.cli.app import app, main

__all__ = ["app", "main"]
