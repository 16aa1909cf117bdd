"""Reads prose: long prompts, of which only what is wholly understood becomes a requirement.

A short prompt is read by rules that pass by what they do not know. In prose too many constructions pass unnoticed, so
this reader works the other way round: a sentence is cut into chunks, and only a few orders of chunks say anything.
"""
