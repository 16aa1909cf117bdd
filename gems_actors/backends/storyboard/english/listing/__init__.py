"""What of a prompt no claim carries, so that it is listed as not understood."""
