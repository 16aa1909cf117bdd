"""The wire of gems-actors: message types, envelope, codec, limits, errors. Pure: no sockets, clocks or models here.

`README.md` in this folder specifies it with test vectors, so that a worker can be written in another language.
"""
