"""Grafana dashboards as code. `python -m k8s.dashboards.generate` writes the JSON files beside it."""
