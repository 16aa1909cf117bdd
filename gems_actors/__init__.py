"""The runtime of the mesh: it carries messages and does not know what they mean."""

__version__ = "0.1.0"
