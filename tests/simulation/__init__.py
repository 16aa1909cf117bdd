"""The mesh without sockets, under a virtual clock and a network that fails by a seed."""
