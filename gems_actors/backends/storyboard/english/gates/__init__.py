"""Last checks of what was understood: which relations make sense, and which numbers a perfect picture must show."""
