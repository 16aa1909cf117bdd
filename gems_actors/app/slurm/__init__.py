"""Runs a mesh as jobs of a Slurm cluster."""
