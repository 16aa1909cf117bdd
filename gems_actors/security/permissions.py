"""What each key may do: pure decisions, by the header of a message and the type of its body.

A key may be a `client`, play roles by their names, be an `agent` (a host's supervisor and every role), or an `admin`.
A role that is bought, borrowed or broken into can then do what that role does, and nothing else: a verifier can neither
write to memory nor answer for a generator.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from gems_actors.config import ROLES
from gems_actors.errors import ConfigError, ForbiddenError
from gems_actors.shards import MEMORY_ROLE, shard_of_role
from protocol.blobs import BlobKind
from protocol.codec import decode_body, peek_type
from protocol.envelope import Header, Kind
from protocol.identity import is_agent_role
from protocol.messages import (
    AppendRecord,
    AppendRecords,
    CompressAttempt,
    ControlRun,
    CountRecords,
    DecomposePrompt,
    DrawPicture,
    FindBestAttempt,
    GenerateImage,
    ListRuns,
    ListTrajectories,
    PlanPrompt,
    ReadLog,
    ReadStatus,
    ReadTrajectory,
    RecallExperiences,
    RefinePrompt,
    Request,
    RunBegun,
    VerifyImage,
)

GRANTS = ("client", *ROLES, "agent", "admin")
"""What a key may be allowed."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
KEY_TEXT = re.compile(r"[0-9a-zA-Z.:+=^!/*?&<>()\[\]{}@%$#-]{40}")
"""A key of 32 bytes in Z85."""

_Asked = tuple[str, str]
"""A role, and the type of what it is asked."""


def _asks(*requests: type[Request[Any]]) -> frozenset[_Asked]:
    return frozenset((request.role, request.__name__) for request in requests)


_READS = _asks(
    ReadTrajectory, FindBestAttempt, ListTrajectories, ListRuns, RecallExperiences, ReadLog, CountRecords
)  # fmt: skip
_STEPS = _asks(PlanPrompt, DecomposePrompt, GenerateImage, VerifyImage, CompressAttempt, RefinePrompt)
_MAY_ASK = {
    "client": _asks(DrawPicture, ReadStatus, ControlRun, AppendRecord) | _READS,
    "conductor": _STEPS | _READS | _asks(AppendRecord, AppendRecords),
    "memory": _READS | _asks(AppendRecord, AppendRecords),  # its shards ask one another
    "planner": _READS,
    "compressor": _READS,
    "refiner": _READS,
}
"""By grant; whom it does not name asks nobody."""
_MAY_TELL = {"conductor": frozenset({"StepTaken", "ImageDrawn"})}
"""The types of events, by grant."""
_MAY_STORE = frozenset({"generator", "agent", "admin"})
_MAY_LOOK = frozenset({"client", "conductor", "verifier", "compressor", "refiner"}) | _MAY_STORE
"""Pictures, where they are served beside the router."""
_LINK = frozenset({Kind.HEARTBEAT, Kind.CAPACITY, Kind.GOODBYE, Kind.CANCEL})
"""What everybody says of itself and of its own requests."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody with a key."""

    name: str
    may: frozenset[str]
    """Some of `GRANTS`."""

    def may_play(self, role: str) -> bool:
        """Return whether it may present itself as a role; everybody may as none, which is what a client does."""
        return not role or _plain(role) in self.may or "admin" in self.may or "agent" in self.may

    @property
    def may_control_runs(self) -> bool:
        """Whether it may pause, resume and cancel, by asking or by what it says it has heard of that."""
        return not self.may.isdisjoint(("client", "agent", "admin"))

    def check(self, header: Header, body: bytes) -> None:
        """See that it may send a message.

        Raises:
            ForbiddenError: it may not.
            BodyError: its body is not one whose type can be told.
        """
        if "admin" in self.may:
            return
        match header.kind:
            case Kind.HELLO | Kind.REPLY | Kind.FAILURE:
                is_allowed = self.may_play(header.role) and (bool(header.role) or header.kind is Kind.HELLO)
                what = f"{header.kind.name} as {header.role or 'nobody'}"
            case Kind.REQUEST if "agent" in self.may:
                is_allowed = header.role != "supervisor" and not is_agent_role(header.role)
                what = f"a request to {header.role}"
            case Kind.REQUEST:
                type_ = peek_type(body)
                is_allowed = any((_plain(header.role), type_) in _MAY_ASK.get(grant, ()) for grant in self.may)
                what = f"{type_[:64]!r} to {header.role}"
                if is_allowed and type_ == "AppendRecord" and self.may.isdisjoint(("conductor", "memory")):
                    is_allowed, what = _begins_run(body), "'AppendRecord' of a record other than RunBegun"
            case Kind.EVENT if "agent" not in self.may:
                type_ = peek_type(body)
                is_allowed = any(type_ in _MAY_TELL.get(grant, ()) for grant in self.may)
                what = f"the event {type_[:64]!r}"
            case Kind.SUBSCRIBE:
                is_allowed, what = not self.may.isdisjoint(("client", "agent")), "a subscription"
            case kind:
                is_allowed, what = kind in _LINK or kind is Kind.EVENT, f"{kind.name}"
        if not is_allowed:
            allowed = ", ".join(sorted(self.may))
            raise ForbiddenError(f"expected what the key of {self.name} allows ({allowed}), got {what}")

    def check_picture(self, kind: BlobKind) -> None:
        """See that it may put pictures into the store, or look at those there.

        Raises:
            ForbiddenError: it may not.
        """
        if self.may.isdisjoint(_MAY_STORE if kind in (BlobKind.HAS, BlobKind.PUT) else _MAY_LOOK):
            allowed = ", ".join(sorted(self.may))
            raise ForbiddenError(
                f"expected what the key of {self.name} allows ({allowed}), got {kind.name} of a picture"
            )


def describe_guest(name: str, key: str, grants: Iterable[str]) -> str:
    """Return one entry of an allow-list."""
    return f'[{name}]\nkey = "{key}"\nmay = [{", ".join(f"{grant!r}" for grant in grants)}]\n'.replace("'", '"')


def check_principal_name(name: str) -> None:
    """See that somebody may be called so.

    Raises:
        ConfigError: the name does not fit.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"expected a name of small letters, digits, - and _, at most 64 of them, got {name[:80]!r}")


def check_grants(grants: list[str]) -> None:
    """See that a key can be allowed all this.

    Raises:
        ConfigError: it cannot; says what it could.
    """
    unknown = [grant for grant in grants if grant not in GRANTS]
    if unknown or not grants:
        raise ConfigError(f"expected some of {', '.join(GRANTS)}, got {', '.join(unknown)[:80] or 'none'}")


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    may: list[str]


def parse_allow_list(text: str) -> dict[str, Principal]:
    """Read an allow-list: a table a guest, whose name is the table's; returned by its public key in Z85.

    Raises:
        ConfigError: it is none, or lets one key in under two names.
    """
    try:
        entries = msgspec.convert(tomllib.loads(text), dict[str, _Entry])
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"expected TOML, got: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"expected tables [NAME] with key and may: {error}") from error
    guests: dict[str, Principal] = {}
    for name, entry in entries.items():
        try:
            check_principal_name(name)
            check_grants(entry.may)
        except ConfigError as error:
            raise ConfigError(f"[{name[:80]}]: {error}") from error
        if not KEY_TEXT.fullmatch(entry.key):
            raise ConfigError(f"[{name}] key: expected a public key of 40 characters in Z85, got {entry.key[:80]!r}")
        if other := guests.get(entry.key):
            raise ConfigError(f"[{name}] key: expected a key of its own, got that of {other.name}")
        guests[entry.key] = Principal(name, frozenset(entry.may))
    return guests


def _plain(role: str) -> str:
    """Return the role of which another is a part: each of memory's shards is memory."""
    return role if shard_of_role(role) is None else MEMORY_ROLE


def _begins_run(body: bytes) -> bool:
    """Return whether a request appends the record of a new run, as memory itself would read it."""
    request = decode_body(body)
    return isinstance(request, AppendRecord) and isinstance(request.record, RunBegun)
