"""Floor 6: from an expression and a plan to a program, by named passes: rewrite, draws, lower, check."""
