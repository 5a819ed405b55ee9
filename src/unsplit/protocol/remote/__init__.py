"""Real parties: the same protocol between processes and machines, over gRPC."""
