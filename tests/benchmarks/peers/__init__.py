"""The mesh and what others use in its place, each doing the same: a request to one of two workers, and its answer.

Every module here is a system. `COMMANDS` are its processes, apart from the client, in the order in which they start;
each gets a folder for its sockets as its argument. The module itself, as a program, is the client: it prints a line
of JSON for each line that it reads, as `load` says.
"""
