"""What permissions derive from the table of roles, and what refusals say to the letter."""

from __future__ import annotations

import msgpack
import pytest

from gems_actors.errors import ConfigError, ForbiddenError
from gems_actors.roles import BUILT_IN_ROLES
from gems_actors.security.permissions import (
    Permissions,
    Principal,
    check_grants,
    check_principal_name,
    describe_principal,
    parse_allow_list,
)
from protocol.blobs import BlobKind
from protocol.codec import encode_body
from protocol.envelope import Header, Kind
from protocol.messages import AppendRecord, RecordsLost

LONG = "X" * 100


def permissions() -> Permissions:
    return Permissions(BUILT_IN_ROLES)


def refusal(*grants: str, kind: Kind, role: str = "", body: bytes = b"") -> str:
    with pytest.raises(ForbiddenError) as caught:
        Principal("somebody", frozenset(grants), permissions()).check(Header(kind, role=role), body)
    return str(caught.value)


def expected(allowed: str, got: str) -> str:
    return f"expected a key that allows {got}, got that of somebody ({allowed})"


def named(type_: str) -> bytes:
    packed: bytes = msgpack.packb({"type": type_})
    return packed


def test_grants_are_the_roles_and_three_more_and_only_these_may_use_pictures() -> None:
    built_in = permissions()
    assert built_in.grants == ("client", *BUILT_IN_ROLES, "agent", "admin")
    writers = {name for name, spec in BUILT_IN_ROLES.items() if spec.writes_blobs}
    readers = {name for name, spec in BUILT_IN_ROLES.items() if spec.reads_blobs}
    assert built_in.may_store == {"agent", "admin", "client", *writers}
    assert built_in.may_read_pictures == {"agent", "admin", "client", *writers, *readers}


def test_clients_may_ask_every_role_for_what_it_declares_and_agents_have_no_list() -> None:
    built_in = permissions()
    for role, type_ in (("memory", "ReadTrajectory"), ("conductor", "DrawPicture"), ("router", "ReadStatus")):
        assert built_in.may_ask("client", role, type_)
    assert not built_in.may_ask("agent", "planner", "PlanPrompt")


def test_an_admin_may_play_every_role_and_a_planner_only_its_own() -> None:
    for grant, wanted in (("admin", True), ("agent", True), ("planner", True), ("verifier", False)):
        assert Principal("somebody", frozenset({grant}), permissions()).may_play("planner") is wanted


def test_refusals_name_the_grants_in_order_and_the_message() -> None:
    lost = encode_body(AppendRecord(record=RecordsLost(first=0, last=9, reason="none")))
    assert refusal("client", kind=Kind.REQUEST, role="memory", body=lost) == expected(
        "client", "'AppendRecord' of a record other than RunBegun"
    )
    assert refusal("verifier", "client", kind=Kind.HELLO, role="planner") == expected(
        "client, verifier", "HELLO as planner"
    )
    assert refusal("client", kind=Kind.REPLY) == expected("client", "REPLY as a client")
    assert refusal("agent", kind=Kind.REQUEST, role="supervisor") == expected("agent", "a request to supervisor")
    assert refusal("client", kind=Kind.REQUEST, role="planner", body=named("Odd")) == expected(
        "client", "'Odd' to planner"
    )
    assert refusal("client", kind=Kind.EVENT, body=named("Odd")) == expected("client", "the event 'Odd'")
    assert refusal("verifier", kind=Kind.SUBSCRIBE) == expected("verifier", "a subscription")
    assert refusal("verifier", kind=Kind.PULSE) == expected("verifier", "PULSE")


def test_refusals_of_pictures_name_the_operation() -> None:
    Principal("somebody", frozenset({"client"}), permissions()).check_picture(BlobKind.PUT)
    sender = Principal("somebody", frozenset({"verifier"}), permissions())
    sender.check_picture(BlobKind.GET)
    with pytest.raises(ForbiddenError) as caught:
        sender.check_picture(BlobKind.PUT)
    assert str(caught.value) == expected("verifier", "PUT of a picture")


def test_an_entry_of_an_allow_list_is_toml() -> None:
    entry = '[lab]\nkey = "KEY"\nmay = ["client", "agent"]\n'
    assert describe_principal("lab", "KEY", ["client", "agent"]) == entry


def test_errors_of_names_and_grants_show_up_to_80_characters() -> None:
    rule = "expected a name of up to 64 lower-case letters, digits, - and _, got"
    with pytest.raises(ConfigError) as caught:
        check_principal_name(LONG)
    assert str(caught.value) == f"{rule} {LONG[:80]!r}"
    some = f"expected some of {', '.join(permissions().grants)}, got"
    for grants, got in ((["a", "b"], "a, b"), ([LONG], LONG[:80]), ([], "none")):
        with pytest.raises(ConfigError) as caught:
            check_grants(grants, permissions())
        assert str(caught.value) == f"{some} {got}"
    with pytest.raises(ConfigError) as caught:
        parse_allow_list(f'[{LONG}]\nkey = "k"\nmay = ["client"]\n', permissions())
    assert str(caught.value) == f"[{LONG[:80]}]: {rule} {LONG[:80]!r}"
    with pytest.raises(ConfigError) as caught:
        parse_allow_list(f'[lab]\nkey = "{LONG}"\nmay = ["client"]\n', permissions())
    assert str(caught.value) == f"[lab] key: expected a public key of 40 characters in Z85, got {LONG[:80]!r}"


def test_principals_of_an_allow_list_have_the_permissions_that_they_were_read_with() -> None:
    mine = permissions()
    (found,) = parse_allow_list(f'[lab]\nkey = "{"x" * 40}"\nmay = ["client"]\n', mine).values()
    assert found.permissions is mine
