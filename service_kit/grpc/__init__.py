"""gRPC as every service speaks it: server, channel, errors on the wire."""
