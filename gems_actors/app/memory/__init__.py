"""Reads the memory of a mesh from its folders or over the mesh: lists, trajectories, the newest records, exports.

What a person sees of it is painted in `gems_actors.cli.terminal`; the log itself belongs to `actors.memory_store`.
"""
