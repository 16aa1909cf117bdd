"""What a program may do with a mesh: draw, bulk, evaluation, memory, Slurm. No click, no printing, no terminal."""
