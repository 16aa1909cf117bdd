"""Starts the processes of a mesh, restarts and scales them, and shuts them down; runs on Linux.

Roles are known here by name only. What a role does, and what messages mean, belongs elsewhere.
"""
