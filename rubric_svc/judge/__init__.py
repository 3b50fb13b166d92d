"""Verdicts: one a criterion, by transparent matching or by the model."""
