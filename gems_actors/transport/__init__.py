"""ZeroMQ sockets: opened, bound, read and written. Knows frames, not what they mean."""
