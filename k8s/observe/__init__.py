"""`make observe`: the local stack with a trace UI beside it."""
