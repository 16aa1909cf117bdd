"""What the memory actor keeps on disk: the log, the index derived from it, archives, and their upkeep."""
