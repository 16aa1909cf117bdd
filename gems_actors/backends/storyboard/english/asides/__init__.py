"""Sets aside what a prompt says of a part, an exception or something unseen, before its grammar is read.

Each of these changes what the words before it say, in ways that no rule for single words sees. They are found first,
taken out whole, and listed as not understood in the words of the prompt.
"""
