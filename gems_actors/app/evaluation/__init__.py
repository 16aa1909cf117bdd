"""Draws the prompt files of benchmarks, lays out the pictures for their scorers, and scores some itself."""
