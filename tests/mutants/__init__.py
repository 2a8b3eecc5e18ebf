"""Planted bugs: the code with one thing changed, and whether the contracts notice."""
