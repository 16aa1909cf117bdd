"""Draws every record of a prompt file into a folder that can be continued."""
