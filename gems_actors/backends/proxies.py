"""The proxy that a request takes, from the variables that curl and other clients read, and whether they can be used.

A server on this host is reached without a proxy, whatever the environment says. Pure but for `check_network`, which
opens the files with certificates that the environment names.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from gems_actors.config import MeshConfig
from gems_actors.errors import ConfigError

_HTTP: Final = ("http", "https")
_SOCKS: Final = ("socks5", "socks5h")
_HASHED_NAME: Final = re.compile(r"[0-9a-f]{8}\.\d+")
"""Name by which OpenSSL looks for a certificate in a folder."""


class Route(NamedTuple):
    """The proxy of a request."""

    proxy: str
    """Address of the proxy, with its password."""
    variable: str
    """Environment variable that names it."""

    @property
    def shown(self) -> str:
        """The proxy for people, without its password."""
        return f"the proxy {_without_password(self.proxy)} of {self.variable}"


def route_to(url: str, environment: Mapping[str, str]) -> Route | None:
    """Return the proxy for an address; None if it is reached directly.

    `http_proxy`, `https_proxy` and `all_proxy` name proxies, `no_proxy` addresses without one: names with all their
    subdomains, addresses and networks such as `10.0.0.0/8` or `fd00::/8`, each with or without a port, or `*`. The
    lower-case name of a variable takes precedence.

    Raises:
        ConfigError: the variable that names the proxy has a value that cannot be used.
    """
    target = urlsplit(url)
    host = (target.hostname or "").rstrip(".")
    if is_loopback(host) or _is_exempt(host, _port_of(target), _read("no_proxy", environment)[1]):
        return None
    for name in (f"{target.scheme.lower()}_proxy", "all_proxy"):
        variable, value = _read(name, environment)
        if value:
            return Route(_checked(variable, value), variable)
    return None


def is_loopback(host: str) -> bool:
    """Return whether a name or an address is one of this host."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    inner = getattr(address, "ipv4_mapped", None) or address
    return bool(inner.is_loopback or inner.is_unspecified)


def check_network(config: MeshConfig, environment: Mapping[str, str] = os.environ) -> None:
    """Check that the environment lets this host's roles reach their model servers.

    Raises:
        ConfigError: a proxy or a file with certificates cannot be used; names the variable.
    """
    for table, url in _servers_of(config):
        try:
            check_address(url, environment)
        except ConfigError as error:
            raise ConfigError(f"{error} ({table}.url is {url})") from error


def check_address(url: str, environment: Mapping[str, str]) -> None:
    """Check that the environment lets a request reach an address.

    Raises:
        ConfigError: as `check_network`.
    """
    route = route_to(url, environment)
    if url.lower().startswith("https:") or (route is not None and route.proxy.startswith("https:")):
        _check_certificates(environment)


def _servers_of(config: MeshConfig) -> Iterator[tuple[str, str]]:
    """Yield table and address of each model server that roles of this host ask."""
    if config.image.backend in ("openai", "gems") and config.image.url and _is_played("generator", config):
        yield "image", config.image.url
    if any(_is_played(role, config) for role in config.chat_roles):
        for table, model in config.chat_models().items():
            for server in (model, *model.fallbacks) if model.backend == "openai" else ():
                if server.url:
                    yield table, server.url


def _is_played(role: str, config: MeshConfig) -> bool:
    return bool(config.role(role).count or config.role(role).max)


def _read(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return a variable's name as it is set, lower case first, and its value; an empty value where it is not set."""
    for variable in (name, name.upper()):
        if variable in environment:
            return variable, environment[variable].strip()
    return name, ""


def _checked(variable: str, value: str) -> str:
    """Return the address of a proxy, with its scheme."""
    proxy = value if "://" in value else f"http://{value}"
    shown = _without_password(value)
    try:
        parts = urlsplit(proxy)
        is_address = bool(parts.hostname) and parts.port != 0 and not re.search(r"[\s\x00-\x1f]", proxy)
    except ValueError:
        is_address = False
    if not is_address or parts.scheme not in (*_HTTP, *_SOCKS):
        raise ConfigError(
            f"{variable}: expected the address of a proxy such as http://HOST:3128, got {shown!r}; correct it, "
            "unset it, or add the server to NO_PROXY"
        )
    if parts.scheme in _SOCKS and find_spec("socksio") is None:
        raise ConfigError(
            f"{variable}: expected an HTTP proxy, or the package socksio for one of SOCKS, got {shown!r}; "
            "pip install 'httpx[socks]', unset it, or add the server to NO_PROXY"
        )
    return proxy


def _without_password(proxy: str) -> str:
    return re.sub(r"^([a-z0-9+.-]+://)?[^/@]*@", r"\1***@", proxy, flags=re.IGNORECASE)


def _port_of(target: SplitResult) -> int | None:
    try:
        return target.port or {"http": 80, "https": 443}.get(target.scheme.lower())
    except ValueError:
        return None


def _is_exempt(host: str, port: int | None, entries: str) -> bool:
    return any(_is_meant(host, port, entry) for entry in re.split(r"[,\s]+", entries.lower()) if entry)


def _is_meant(host: str, port: int | None, entry: str) -> bool:
    """Return whether an entry of `no_proxy` means a host; one that cannot be read means none."""
    if entry == "*":
        return True
    entry, wanted_port = _split_port(entry.rpartition("://")[2])
    if wanted_port and wanted_port != str(port):
        return False
    if (network := _network_of(entry)) is not None:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        return address.version == network.version and address in network
    name = entry.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split_port(entry: str) -> tuple[str, str]:
    """Return an entry without brackets and port, and the port, empty without one."""
    if entry.startswith("["):
        address, _, rest = entry[1:].partition("]")
        return (address + rest, "") if rest.startswith("/") else (address, rest.removeprefix(":"))
    if ":" not in entry or _network_of(entry) is not None:
        return entry, ""
    name, _, port = entry.rpartition(":")
    return name, port


def _network_of(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _check_certificates(environment: Mapping[str, str]) -> None:
    """Check the variables about certificates that Python's TLS reads; a folder counts only without a file."""
    import ssl  # most servers are reached without TLS

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    file, folder = environment.get("SSL_CERT_FILE", ""), environment.get("SSL_CERT_DIR", "")
    try:
        if file:
            context.load_verify_locations(cafile=file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"SSL_CERT_FILE: expected a file with certificates in PEM, got {file}: {reason}; correct or unset it"
        ) from error
    if folder and not file and not any(_has_certificates(Path(part)) for part in folder.split(os.pathsep)):
        raise ConfigError(
            f"SSL_CERT_DIR: expected a folder with certificates as `openssl rehash` names them, got {folder}; correct "
            "or unset it"
        )
    if log := environment.get("SSLKEYLOGFILE", ""):
        try:
            context.keylog_filename = log
        except OSError as error:
            raise ConfigError(
                f"SSLKEYLOGFILE: expected a file to write to, got {log}: {error.strerror}; correct or unset it"
            ) from error


def _has_certificates(folder: Path) -> bool:
    try:
        return any(_HASHED_NAME.fullmatch(entry.name) for entry in folder.iterdir())
    except OSError:
        return False
