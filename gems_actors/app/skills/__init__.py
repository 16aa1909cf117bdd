"""Evidence for skills, and skills from evidence: trials, learning, the folder of learnt skills, and what was used.

The curator only proposes; what is tried, accepted and retired is decided here. No printing and no parsing of flags.
"""
