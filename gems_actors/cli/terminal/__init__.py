"""What the commands paint on a terminal."""
