"""Runs a mesh as jobs of a Slurm cluster: batch files, their jobs, and the file in which a head leaves its address."""
