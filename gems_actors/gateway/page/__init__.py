"""The page at `/`: static files without a build step, and the JSON that they show."""
