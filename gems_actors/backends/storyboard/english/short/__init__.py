"""Reads short prompts: rules that go from word to word, and pass by what they do not know."""
