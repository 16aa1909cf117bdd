"""Reads the records of an input file as tasks: `readers` knows the formats, `records` the fields of one record."""
