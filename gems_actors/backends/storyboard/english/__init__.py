"""Reads plain English: words, noun phrases and clauses, by tables and rules."""
