"""Reads what memory keeps, through a mesh or from its folder."""
