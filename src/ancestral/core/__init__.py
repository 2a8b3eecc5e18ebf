"""Floor 0: the words everyone uses: names, axes, noise, errors, display."""
