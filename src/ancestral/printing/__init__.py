"""Floor 5: one meaning, several readings: text, LaTeX, MathML, graph, program's listing."""
