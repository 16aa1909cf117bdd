"""Which addresses a server may bind without keys."""

from __future__ import annotations

import pytest

from gems_actors.config import NO_KEYS, SecurityConfig
from gems_actors.errors import ConfigError
from gems_actors.transport.bind import check_exposure


@pytest.mark.parametrize(
    "address",
    [
        "tcp://0.0.0.0:5555",
        "tcp://*:5555",
        "tcp://[::]:5555",
        "tcp://10.0.0.1:5555",
        "tcp://eth0:5555",
        "tcp://lo:5555",
    ],
)
def test_listening_for_other_hosts_needs_keys_or_the_insecure_setting(address: str) -> None:
    with pytest.raises(ConfigError, match=r"expected security\.key and security\.allowed .*, got none; gems keys new"):
        check_exposure(address, NO_KEYS, is_insecure=False)
    check_exposure(address, NO_KEYS, is_insecure=True)
    check_exposure(address, SecurityConfig(key="k", allowed="a"), is_insecure=False)
    with pytest.raises(ConfigError):
        check_exposure(address, SecurityConfig(key="k", router_key="r"), is_insecure=False)


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:5555", "tcp://[::1]:5555", "tcp://localhost:5555", "ipc:///run/r"]
)
def test_listening_for_this_host_needs_no_keys(address: str) -> None:
    check_exposure(address, NO_KEYS, is_insecure=False)
