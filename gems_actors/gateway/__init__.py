"""The HTTP door of a mesh: one more process, started only where `[gateway]` is configured. See README.md.

No module outside of this package imports it, and only `http_server` and the modules of routes import what the extra
`gateway` installs.
"""
