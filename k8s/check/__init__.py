"""Manifests are checked here as hard as files can be: `make k8s-check`."""
