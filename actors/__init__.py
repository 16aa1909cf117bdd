"""The built-in roles, one module each, and what they share; `gems_actors.roles` has the table of them.

A role knows messages and never another role; only the conductor knows the order of the loop. Sockets, processes and
command line do not belong here.
"""
