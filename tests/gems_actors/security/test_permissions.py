"""What each key may do, for every type of message."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from gems_actors.errors import ConfigError, ForbiddenError
from gems_actors.roles import BUILT_IN_ROLES, RoleSpec
from gems_actors.security.permissions import (
    BUILT_IN_PERMISSIONS,
    Permissions,
    Principal,
    describe_principal,
    parse_allow_list,
)
from protocol.blobs import BlobKind
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
    "SearchTrajectories", "ReadRunFigures", "ReadTimeline", "CountSkills",
}  # fmt: skip
STEPS = {"PlanPrompt", "DecomposePrompt", "GenerateImage", "VerifyImage", "CompareImages"} | {
    "CompressAttempt",
    "RefinePrompt",
}
KEY = "x" * 40
GRANTS = BUILT_IN_PERMISSIONS.grants


def principal(*grants: str) -> Principal:
    return Principal("somebody", frozenset(grants))


def may(sender: Principal, header: Header, body: bytes = b"") -> bool:
    try:
        sender.check(header, body)
    except ForbiddenError:
        return False
    return True


def request_of(name: str, role: str | None = None) -> tuple[Header, bytes]:
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
def test_each_grant_allows_these_requests_and_no_others(grant: str, wanted: set[str]) -> None:
    assert {name for name in REQUESTS if may(principal(grant), *request_of(name))} == wanted


def test_the_cases_above_cover_every_grant() -> None:
    assert set(GRANTS) == {"client", "agent", "admin", *BUILT_IN_ROLES}


def test_a_key_with_several_grants_may_do_what_each_of_them_allows() -> None:
    assert may(principal("verifier", "refiner"), *request_of("ReadTrajectory"))
    assert may(principal("verifier", "refiner"), Header(Kind.HELLO, role="verifier"))
    assert not may(principal("verifier", "refiner"), Header(Kind.HELLO, role="planner"))


@pytest.mark.parametrize("role", ["memory_0", "memory_12"])
def test_a_grant_for_memory_covers_its_shards(role: str) -> None:
    assert may(principal("memory"), Header(Kind.HELLO, role=role))
    assert may(principal("planner"), *request_of("ReadTrajectory", role=role))
    assert not may(principal("verifier"), Header(Kind.REPLY, role=role))


@pytest.mark.parametrize("kind", [Kind.REPLY, Kind.FAILURE, Kind.HELLO])
def test_a_role_is_played_only_with_its_grant(kind: Kind) -> None:
    for grant in GRANTS:
        played = {
            role
            for role in (*BUILT_IN_ROLES, "supervisor", "gateway")
            if may(principal(grant), Header(kind, role=role))
        }
        every_role = {*BUILT_IN_ROLES, "supervisor", "gateway"}
        assert played == (every_role if grant in ("agent", "admin") else {grant} & every_role)


def test_every_key_may_connect_as_a_client_but_not_reply_as_one() -> None:
    assert all(may(principal(grant), Header(Kind.HELLO)) for grant in GRANTS)
    assert [grant for grant in GRANTS if may(principal(grant), Header(Kind.REPLY))] == ["admin"]


def test_a_request_is_allowed_only_to_the_role_that_answers_it() -> None:
    assert not may(principal("client"), *request_of("ReadTrajectory", role="verifier"))
    assert not may(principal("agent"), *request_of("StopMesh", role=agent_role("box")))


@pytest.mark.parametrize(("grant", "is_allowed"), [("client", False), ("conductor", True), ("agent", True)])
def test_the_only_record_that_a_client_may_append_is_that_its_run_began(grant: str, is_allowed: bool) -> None:
    lost = encode_body(AppendRecord(record=RecordsLost(first=0, last=9, reason="none")))
    assert may(principal(grant), Header(Kind.REQUEST, role="memory"), lost) is is_allowed
    assert may(principal("client", "conductor"), Header(Kind.REQUEST, role="memory"), lost), "its other grant allows it"


def test_a_body_with_two_types_is_refused() -> None:
    """The type that the router checks is the one that memory decodes, or decoding fails."""
    read, append = (msgpack.packb({"type": name})[1:] for name in ("CountRecords", "AppendRecord"))
    body = b"\x82" + read + append
    assert peek_type(body) == "CountRecords"
    with pytest.raises(BodyError):
        decode_body(body)


def test_events_are_published_by_the_role_that_causes_them_and_received_by_clients() -> None:
    step = msgpack.packb({"type": "StepTaken"})
    joined = msgpack.packb({"type": "ActorJoined"})
    publishers = [grant for grant in GRANTS if may(principal(grant), Header(Kind.EVENT, role=grant), step)]
    assert publishers == ["conductor", "agent", "admin"]
    assert not may(principal("conductor"), Header(Kind.EVENT, role="conductor"), joined)
    subscribers = [grant for grant in GRANTS if may(principal(grant), Header(Kind.SUBSCRIBE))]
    assert subscribers == ["client", "agent", "admin"]


@pytest.mark.parametrize("kind", [Kind.HEARTBEAT, Kind.CAPACITY, Kind.GOODBYE, Kind.CANCEL])
def test_every_key_may_send_link_messages(kind: Kind) -> None:
    assert all(may(principal(grant), Header(kind)) for grant in GRANTS)


@pytest.mark.parametrize("kind", [Kind.WELCOME, Kind.PULSE, Kind.HELLO_AGAIN])
def test_no_key_but_an_admin_may_send_what_routers_send(kind: Kind) -> None:
    assert [grant for grant in GRANTS if may(principal(grant), Header(kind))] == ["admin"]  # the router ignores it


def test_a_refusal_names_the_key_its_grants_and_the_message() -> None:
    header, body = Header(Kind.REQUEST, role="supervisor"), encode_body(StopMesh())
    with pytest.raises(ForbiddenError) as caught:
        principal("verifier").check(header, body)
    assert str(caught.value) == "expected a key that allows 'StopMesh' to supervisor, got that of somebody (verifier)"
    assert not may(principal("client"), Header(Kind.REQUEST, role="router"), encode_body(ReportLoss(name="x")))


# ------------------------------------------------------------------------------------------------------ own roles


def own(name: str, **settings: Any) -> Permissions:
    spec = RoleSpec(name=name, actor="own:Role", **settings)
    return Permissions({**BUILT_IN_ROLES, name: spec})


def holder(permissions: Permissions, *grants: str) -> Principal:
    return Principal("somebody", frozenset(grants), permissions)


def test_a_role_of_the_user_is_played_with_a_grant_of_its_name() -> None:
    permissions = own("translator", may_ask=("planner.PlanPrompt",), may_publish=("Translated",), reads_blobs=True)
    translator = holder(permissions, "translator")
    assert parse_allow_list(describe_principal("t", KEY, ["translator"]), permissions)[KEY].may_play("translator")
    assert may(translator, Header(Kind.HELLO, role="translator"))
    assert not may(translator, Header(Kind.HELLO, role="planner"))
    assert may(translator, *request_of("PlanPrompt"))
    assert not may(translator, *request_of("ReadTrajectory"))
    assert may(translator, Header(Kind.EVENT, role="translator"), msgpack.packb({"type": "Translated"}))
    translator.check_picture(BlobKind.GET)
    with pytest.raises(ForbiddenError):
        translator.check_picture(BlobKind.PUT)


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({}, {"Translate", "Explain"}),
        ({"requests": ("Translate",)}, {"Translate"}),
        ({"requests": ("Translate", "Explain"), "clients_may_ask": ("Explain",)}, {"Explain"}),
        ({"clients_may_ask": ()}, set()),
    ],
)
def test_clients_may_send_a_role_of_the_user_the_requests_that_it_declares(
    settings: dict[str, Any], allowed: set[str]
) -> None:
    client = holder(own("translator", **settings), "client")
    header = Header(Kind.REQUEST, role="translator")
    sent = {type_ for type_ in ("Translate", "Explain") if may(client, header, msgpack.packb({"type": type_}))}
    assert sent == allowed


def test_a_role_of_the_user_may_append_any_record_once_it_may_ask_for_that() -> None:
    lost = encode_body(AppendRecord(record=RecordsLost(first=0, last=9, reason="none")))
    archivist = holder(own("archivist", may_ask=("memory.AppendRecord",)), "archivist")
    assert may(archivist, Header(Kind.REQUEST, role="memory"), lost)


# ------------------------------------------------------------------------------------------------------ the list


def test_an_allow_list_that_was_written_can_be_read() -> None:
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
def test_an_invalid_allow_list_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_allow_list(text)
