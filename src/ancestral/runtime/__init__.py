"""Floor 5: runs programs, never sees an expression."""
