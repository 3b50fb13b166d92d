"""Requests go out under admission control and trajectories come back as groups; each is accounted for on the way."""
