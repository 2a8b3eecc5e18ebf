"""Floor 6: from an expression and a plan to a program: rewrite, draws, lower, check."""
