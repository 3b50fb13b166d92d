"""New weights, written once and loaded by every policy replica."""
