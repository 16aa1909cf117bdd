"""Scorers that need only a chat model, one module per benchmark: the questions to the judge, and the score. Pure.

The formulas are those of the official scorers, named in `Source`. The prompts to the judge are ours, except for
GenEval2, whose official prompt is the question itself.
"""
