"""Finished work is safe: which task a record is, what a folder has of it, and what a run may change."""
