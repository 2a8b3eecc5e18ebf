"""Floor 5: one meaning, several readings: text, LaTeX, the program's listing."""
