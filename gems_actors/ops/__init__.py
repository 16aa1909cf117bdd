"""What operators see of a process: logs, Prometheus metrics, HTTP health checks and messages to systemd.

Nothing here acts on the mesh or sends requests: callers pass in what is reported.
"""
