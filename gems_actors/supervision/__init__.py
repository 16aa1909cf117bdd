"""Starts the processes of a mesh, restarts them and scales them."""
