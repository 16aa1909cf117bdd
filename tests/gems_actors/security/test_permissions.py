"""What each key may do, by every message there is."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from gems_actors.errors import ConfigError, ForbiddenError
from gems_actors.roles import BUILT_IN_ROLES
from gems_actors.security.permissions import BUILT_IN_PERMISSIONS, Principal, describe_principal, parse_allow_list
from protocol.codec import BODIES, decode_body, encode_body, peek_type
from protocol.envelope import Header, Kind
from protocol.errors import BodyError
from protocol.identity import agent_role
from protocol.messages import AppendRecord, RecordsLost, ReportLoss, RunBegun, StopMesh
from protocol.messages import Request as AnyRequest

REQUESTS: dict[str, type[AnyRequest[Any]]] = {
    name: body for name, body in BODIES.items() if issubclass(body, AnyRequest)
}
READS = {
    "ReadTrajectory", "FindBestAttempt", "ListTrajectories", "ListRuns", "RecallExperiences", "ReadLog", "CountRecords",
}  # fmt: skip
STEPS = {"PlanPrompt", "DecomposePrompt", "GenerateImage", "VerifyImage", "CompressAttempt", "RefinePrompt"}
KEY = "x" * 40
GRANTS = BUILT_IN_PERMISSIONS.grants


def guest(*grants: str) -> Principal:
    return Principal("somebody", frozenset(grants))


def may(sender: Principal, header: Header, body: bytes = b"") -> bool:
    try:
        sender.check(header, body)
    except ForbiddenError:
        return False
    return True


def asked(name: str, role: str | None = None) -> tuple[Header, bytes]:
    body = (
        encode_body(AppendRecord(record=RunBegun(run="mine")))
        if name == "AppendRecord"
        else msgpack.packb({"type": name})
    )
    return Header(Kind.REQUEST, role=role or REQUESTS[name].role), body


@pytest.mark.parametrize(
    ("grant", "wanted"),
    [
        ("client", READS | {"DrawPicture", "ReadStatus", "ControlRun", "AppendRecord"}),
        ("conductor", READS | STEPS | {"AppendRecord", "AppendRecords"}),
        ("planner", READS),
        ("compressor", READS),
        ("refiner", READS),
        ("decomposer", set()),
        ("verifier", set()),
        ("generator", set()),
        ("memory", READS | {"AppendRecord", "AppendRecords"}),
        ("agent", REQUESTS.keys() - {"ScaleRole", "StopMesh"}),
        ("admin", {*REQUESTS}),
    ],
)
def test_each_grant_may_ask_this_and_nothing_else(grant: str, wanted: set[str]) -> None:
    assert {name for name in REQUESTS if may(guest(grant), *asked(name))} == wanted


def test_the_cases_above_are_all_the_grants_there_are() -> None:
    assert set(GRANTS) == {"client", "agent", "admin", *BUILT_IN_ROLES}


def test_several_grants_are_what_each_of_them_is() -> None:
    assert may(guest("verifier", "refiner"), *asked("ReadTrajectory"))
    assert may(guest("verifier", "refiner"), Header(Kind.HELLO, role="verifier"))
    assert not may(guest("verifier", "refiner"), Header(Kind.HELLO, role="planner"))


@pytest.mark.parametrize("role", ["memory_0", "memory_12"])
def test_a_shard_of_memory_is_memory(role: str) -> None:
    assert may(guest("memory"), Header(Kind.HELLO, role=role))
    assert may(guest("planner"), *asked("ReadTrajectory", role=role))
    assert not may(guest("verifier"), Header(Kind.REPLY, role=role))


@pytest.mark.parametrize("kind", [Kind.REPLY, Kind.FAILURE, Kind.HELLO])
def test_a_role_is_played_by_who_may_play_it(kind: Kind) -> None:
    for grant in GRANTS:
        played = {
            role for role in (*BUILT_IN_ROLES, "supervisor", "gateway") if may(guest(grant), Header(kind, role=role))
        }
        whole = {*BUILT_IN_ROLES, "supervisor", "gateway"}
        assert played == (whole if grant in ("agent", "admin") else {grant} & whole)


def test_everybody_may_be_there_as_nobody_but_not_answer_so() -> None:
    assert all(may(guest(grant), Header(Kind.HELLO)) for grant in GRANTS)
    assert [grant for grant in GRANTS if may(guest(grant), Header(Kind.REPLY))] == ["admin"]


def test_only_a_request_to_the_role_that_answers_it_is_allowed() -> None:
    assert not may(guest("client"), *asked("ReadTrajectory", role="verifier"))
    assert not may(guest("agent"), *asked("StopMesh", role=agent_role("box")))


@pytest.mark.parametrize(("grant", "is_allowed"), [("client", False), ("conductor", True), ("agent", True)])
def test_a_client_appends_no_record_but_that_its_run_began(grant: str, is_allowed: bool) -> None:
    lost = encode_body(AppendRecord(record=RecordsLost(first=0, last=9, reason="none")))
    assert may(guest(grant), Header(Kind.REQUEST, role="memory"), lost) is is_allowed


def test_who_says_two_types_is_taken_at_none() -> None:
    """What the router peeks at is what memory reads, or memory reads nothing."""
    read, append = (msgpack.packb({"type": name})[1:] for name in ("CountRecords", "AppendRecord"))
    body = b"\x82" + read + append
    assert peek_type(body) == "CountRecords"
    with pytest.raises(BodyError):
        decode_body(body)


def test_events_are_told_by_who_causes_them_and_heard_by_clients() -> None:
    step = msgpack.packb({"type": "StepTaken"})
    joined = msgpack.packb({"type": "ActorJoined"})
    tellers = [grant for grant in GRANTS if may(guest(grant), Header(Kind.EVENT, role=grant), step)]
    assert tellers == ["conductor", "agent", "admin"]
    assert not may(guest("conductor"), Header(Kind.EVENT, role="conductor"), joined)
    listeners = [grant for grant in GRANTS if may(guest(grant), Header(Kind.SUBSCRIBE))]
    assert listeners == ["client", "agent", "admin"]


@pytest.mark.parametrize("kind", [Kind.HEARTBEAT, Kind.CAPACITY, Kind.GOODBYE, Kind.CANCEL])
def test_everybody_speaks_of_itself(kind: Kind) -> None:
    assert all(may(guest(grant), Header(kind)) for grant in GRANTS)


@pytest.mark.parametrize("kind", [Kind.WELCOME, Kind.PULSE, Kind.HELLO_AGAIN])
def test_nobody_speaks_as_a_router(kind: Kind) -> None:
    assert [grant for grant in GRANTS if may(guest(grant), Header(kind))] == ["admin"]  # to whom it is nonsense


def test_the_refusal_names_who_what_is_allowed_and_what_came() -> None:
    header, body = Header(Kind.REQUEST, role="supervisor"), encode_body(StopMesh())
    with pytest.raises(ForbiddenError) as caught:
        guest("verifier").check(header, body)
    assert str(caught.value) == "expected what the key of somebody allows (verifier), got 'StopMesh' to supervisor"
    assert not may(guest("client"), Header(Kind.REQUEST, role="router"), encode_body(ReportLoss(name="x")))


# ------------------------------------------------------------------------------------------------------ the list


def test_an_allow_list_is_read_as_it_is_written() -> None:
    text = describe_principal("gpu-box", KEY, ["verifier", "refiner"]) + describe_principal("me", "y" * 40, ["admin"])
    assert parse_allow_list(text) == {
        KEY: Principal("gpu-box", frozenset({"verifier", "refiner"})),
        "y" * 40: Principal("me", frozenset({"admin"})),
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[a", "expected TOML, got: "),
        ('a = "b"', r"expected tables \[NAME\] with key and may: "),
        (f'[a]\nkey = "{KEY}"', "missing required field `may`"),
        (f'[a]\nkey = "{KEY}"\nmay = ["client"]\nexpires = 1', "unknown field `expires`"),
        (f'[a]\nkey = "{KEY}"\nmay = ["root"]', r"\[a\]: expected some of client, conductor, .*, got root"),
        (f'[a]\nkey = "{KEY}"\nmay = []', r"\[a\]: expected some of .*, got none"),
        (
            '[a]\nkey = "short"\nmay = ["client"]',
            r"\[a\] key: expected a public key of 40 characters in Z85, got 'short'",
        ),
        (f'[A]\nkey = "{KEY}"\nmay = ["client"]', r"\[A\]: expected a name of up to 64 lower-case letters"),
        (
            f'[a]\nkey = "{KEY}"\nmay = ["client"]\n[b]\nkey = "{KEY}"\nmay = ["admin"]',
            "that no other entry has, got that of a",
        ),
    ],
)
def test_what_is_no_allow_list_lets_nobody_in(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_allow_list(text)
