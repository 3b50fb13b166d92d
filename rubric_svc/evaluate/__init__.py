"""Benchmarks of a candidate model: items in, answers judged, scores out."""
