"""What a Python program can do with a mesh; the command line only parses flags and calls this package."""
