"""What an operator looks at: logs, metrics, probes and the messages to systemd."""
