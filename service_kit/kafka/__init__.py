"""Kafka as every service speaks it: the contracts' messages, typed, traced and never lost for being unreadable."""
