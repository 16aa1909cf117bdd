"""Where skills can be learnt from storyboards: instructions with a planted effect, and a curator that follows rules."""
