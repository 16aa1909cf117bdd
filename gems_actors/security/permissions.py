"""What each key may do: pure decisions, by the header of a message and the type of its body.

A key may be a `client`, play roles by their names, be an `agent` (a host's supervisor and every role), or an `admin`.
A stolen or compromised key of a role can do what that role does and nothing else: a verifier's key can neither write to
memory nor answer for a generator. What a role does is declared in `roles`; types are compared by name, so that no body
has to be decoded.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from gems_actors.errors import ConfigError, ForbiddenError
from gems_actors.roles import ANY, BUILT_IN_ROLES, RoleSpec
from gems_actors.shards import MEMORY_ROLE, shard_of_role
from protocol.blobs import BlobKind
from protocol.codec import decode_body, peek_type
from protocol.envelope import Header, Kind
from protocol.identity import is_agent_role
from protocol.messages import AppendRecord, ControlRun, ReadStatus, RunBegun

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
KEY_TEXT = re.compile(r"[0-9a-zA-Z.:+=^!/*?&<>()\[\]{}@%$#-]{40}")
"""A key of 32 bytes in Z85."""
_LINK = frozenset({Kind.HEARTBEAT, Kind.CAPACITY, Kind.GOODBYE, Kind.CANCEL})
"""Messages in which every peer speaks of itself and of its requests."""


class Permissions:
    """What each grant allows in a mesh with certain roles: `client`, the name of each role, `agent` and `admin`."""

    def __init__(self, roles: Mapping[str, RoleSpec]) -> None:
        self.grants = ("client", *roles, "agent", "admin")
        """Every grant that a key can have."""
        client = {f"{request.role}.{request.__name__}" for request in (ReadStatus, ControlRun)}
        for name, spec in roles.items():
            types = spec.requests if spec.clients_may_ask is None else spec.clients_may_ask
            client |= {f"{name}.{type_}" for type_ in types}
        self._may_ask = {name: frozenset(spec.may_ask) for name, spec in roles.items()} | {"client": frozenset(client)}
        self._may_publish = {name: frozenset(spec.may_publish) for name, spec in roles.items()}
        writers = (name for name, spec in roles.items() if spec.writes_blobs)
        self.may_store = frozenset({"client", "agent", "admin", *writers})
        """Grants that may add pictures to the blob store; clients add those to draw from, and can replace none."""
        readers = (name for name, spec in roles.items() if spec.reads_blobs)
        self.may_read_pictures = self.may_store | {*readers}
        """Grants that may read pictures from the blob store."""

    def may_ask(self, grant: str, role: str, type_: str) -> bool:
        """Return whether a grant allows a request of some type to a role."""
        allowed = self._may_ask.get(grant, frozenset())
        return f"{role}.{type_}" in allowed or f"{role}.{ANY}" in allowed

    def may_publish(self, grant: str, type_: str) -> bool:
        """Return whether a grant allows an event of some type."""
        return type_ in self._may_publish.get(grant, frozenset())


BUILT_IN_PERMISSIONS = Permissions(BUILT_IN_ROLES)


@dataclass(frozen=True, slots=True)
class Principal:
    """A holder of a key."""

    name: str
    may: frozenset[str]
    """Some of the grants of `permissions`."""
    permissions: Permissions = field(default=BUILT_IN_PERMISSIONS, compare=False, repr=False)

    def may_play(self, role: str) -> bool:
        """Return whether it may present itself as a role; a client presents itself as none, which every key may."""
        return not role or _plain(role) in self.may or "admin" in self.may or "agent" in self.may

    @property
    def may_control_runs(self) -> bool:
        """Whether this key may pause, resume or cancel runs, by request or by relaying run states in `Hello`."""
        return not self.may.isdisjoint(("client", "agent", "admin"))

    def check(self, header: Header, body: bytes) -> None:
        """Check that the key allows a message.

        Raises:
            ForbiddenError: it does not.
            BodyError: the type of the body cannot be read.
        """
        if "admin" in self.may:
            return
        match header.kind:
            case Kind.HELLO | Kind.REPLY | Kind.FAILURE:
                is_allowed = self.may_play(header.role) and (bool(header.role) or header.kind is Kind.HELLO)
                what = f"{header.kind.name} as {header.role or 'a client'}"
            case Kind.REQUEST if "agent" in self.may:
                is_allowed = header.role != "supervisor" and not is_agent_role(header.role)
                what = f"a request to {header.role}"
            case Kind.REQUEST:
                is_allowed, what = self._may_ask(_plain(header.role), body)
            case Kind.EVENT if "agent" not in self.may:
                type_ = peek_type(body)
                is_allowed = any(self.permissions.may_publish(grant, type_) for grant in self.may)
                what = f"the event {type_!r}"
            case Kind.SUBSCRIBE:
                is_allowed, what = not self.may.isdisjoint(("client", "agent")), "a subscription"
            case kind:
                is_allowed, what = kind in _LINK or kind is Kind.EVENT, f"{kind.name}"
        if not is_allowed:
            raise self._forbidden(what)

    def check_picture(self, kind: BlobKind) -> None:
        """Check that the key allows adding pictures to the store, or reading them.

        Raises:
            ForbiddenError: it does not.
        """
        is_write = kind in (BlobKind.HAS, BlobKind.PUT)
        allowed = self.permissions.may_store if is_write else self.permissions.may_read_pictures
        if self.may.isdisjoint(allowed):
            raise self._forbidden(f"{kind.name} of a picture")

    def _may_ask(self, role: str, body: bytes) -> tuple[bool, str]:
        """Return whether a request is allowed, and its description for an error."""
        type_ = peek_type(body)
        grants = {grant for grant in self.may if self.permissions.may_ask(grant, role, type_)}
        if grants == {"client"} and type_ == AppendRecord.__name__ and not _begins_run(body):
            return False, "'AppendRecord' of a record other than RunBegun"
        return bool(grants), f"{type_!r} to {role}"

    def _forbidden(self, what: str) -> ForbiddenError:
        allowed = ", ".join(sorted(self.may))
        return ForbiddenError(f"expected a key that allows {what}, got that of {self.name} ({allowed})")


def describe_principal(name: str, key: str, grants: Iterable[str]) -> str:
    """Return one entry of an allow-list."""
    return f'[{name}]\nkey = "{key}"\nmay = [{", ".join(f"{grant!r}" for grant in grants)}]\n'.replace("'", '"')


def check_principal_name(name: str) -> None:
    """Check that a name is valid for the holder of a key.

    Raises:
        ConfigError: it is not.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"expected a name of up to 64 lower-case letters, digits, - and _, got {name[:80]!r}")


def check_grants(grants: list[str], permissions: Permissions = BUILT_IN_PERMISSIONS) -> None:
    """Check that a key can have these grants.

    Raises:
        ConfigError: one of them does not exist, or there are none.
    """
    unknown = [grant for grant in grants if grant not in permissions.grants]
    if unknown or not grants:
        raise ConfigError(f"expected some of {', '.join(permissions.grants)}, got {', '.join(unknown)[:80] or 'none'}")


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    may: list[str]


def parse_allow_list(text: str, permissions: Permissions = BUILT_IN_PERMISSIONS) -> dict[str, Principal]:
    """Read an allow-list, which has one table per principal, and return the principals by public key in Z85.

    Raises:
        ConfigError: it is not an allow-list, or gives one key two names.
    """
    try:
        entries = msgspec.convert(tomllib.loads(text), dict[str, _Entry])
    except RecursionError:
        raise ConfigError("expected one table per key, got tables or lists that are nested too deep") from None
    except msgspec.ValidationError as error:
        raise ConfigError(f"expected tables [NAME] with key and may: {error}") from error
    except ValueError as error:  # tomllib's own, and that of int() for thousands of digits
        raise ConfigError(f"expected TOML, got: {error}") from error
    principals: dict[str, Principal] = {}
    for name, entry in entries.items():
        try:
            check_principal_name(name)
            check_grants(entry.may, permissions)
        except ConfigError as error:
            raise ConfigError(f"[{name[:80]}]: {error}") from error
        if not KEY_TEXT.fullmatch(entry.key):
            raise ConfigError(f"[{name}] key: expected a public key of 40 characters in Z85, got {entry.key[:80]!r}")
        if other := principals.get(entry.key):
            raise ConfigError(f"[{name}] key: expected a key that no other entry has, got that of {other.name}")
        principals[entry.key] = Principal(name, frozenset(entry.may), permissions)
    return principals


def _plain(role: str) -> str:
    """Return the role that a shard belongs to, or the role itself."""
    return role if shard_of_role(role) is None else MEMORY_ROLE


def _begins_run(body: bytes) -> bool:
    """Return whether a request appends the record of a new run, decoded as memory decodes it."""
    request = decode_body(body)
    return isinstance(request, AppendRecord) and isinstance(request.record, RunBegun)
