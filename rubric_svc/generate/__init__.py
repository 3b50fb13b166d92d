"""Rubrics grounded in a case and adapted to persona and dialogue."""
