"""Where a run's curves go while it runs, and who is told when they go wrong."""
