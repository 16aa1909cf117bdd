"""ZeroMQ sockets of this process: how they are opened, bound and read."""
