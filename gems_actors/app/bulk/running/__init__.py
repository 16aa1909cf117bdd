"""A bulk while it runs: what its parts share, the drawing of one task, servers, limits, and what is shown."""
