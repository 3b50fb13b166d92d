"""What a run measures: of each step, on held-out cases, and as pictures at the end."""
