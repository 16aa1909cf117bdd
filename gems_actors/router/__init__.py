"""The process that every actor connects to: its server, its pure dispatcher and its queues."""
