"""Floor 4: the instruction types of a lowered program."""
