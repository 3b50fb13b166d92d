"""The objective, what computes it, and the checkpoint that holds its state."""
