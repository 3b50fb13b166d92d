"""The stages of a training, in their order. Each module tells what lies between a run's two measurements."""
