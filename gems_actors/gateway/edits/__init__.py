"""Requests with pictures to draw from: forms, their fields and files, and the memory that their bodies may take."""
