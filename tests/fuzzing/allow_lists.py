"""The allow-list of keys."""

from __future__ import annotations

from contextlib import suppress

from gems_actors.errors import ConfigError
from gems_actors.security.permissions import describe_principal, parse_allow_list


def seeds() -> list[bytes]:
    """Return lists as `gems keys` writes them."""
    one = describe_principal("client", "a" * 40, ["client"]).encode()
    return [one, one + describe_principal("gpu-box", "b" * 40, ["generator", "verifier"]).encode(), b"[a]\nkey = 1\n"]


def check(data: bytes) -> None:
    """Read a list."""
    with suppress(ConfigError, UnicodeDecodeError):
        for principal in parse_allow_list(data.decode()).values():
            assert principal.may
