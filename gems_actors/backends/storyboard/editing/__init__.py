"""Drawing from pictures: reads an instruction, and what it is about from the pixels of the given picture alone.

A storyboard keeps what it shows, changed as the instruction says. Any other picture is shown framed, next to what the
instruction asks for.
"""
