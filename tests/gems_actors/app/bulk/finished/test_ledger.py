"""Tables of what a run knows of its tasks."""

from __future__ import annotations

from array import array
from hashlib import blake2b

import pytest

from gems_actors.app.bulk.finished.ledger import IdTable, Ledger, TaskRef, number_of


def id_of(number: int) -> str:
    return blake2b(str(number).encode(), digest_size=8).hexdigest()


@pytest.mark.parametrize("by_index", [True, False])
def test_a_ledger_knows_the_state_of_every_sample(by_index: bool) -> None:
    ledger = Ledger()
    refs: list[TaskRef] = [index if by_index else id_of(index) for index in range(2_000)]
    for index, ref in enumerate(refs):
        for sample in range(3):
            ledger.put(ref, sample, index, f"{index:08x}{sample:08x}")
    assert ledger.pictures == 6_000
    for index, ref in enumerate(refs):
        assert [ledger.state_of(ref, sample, f"{index:08x}{sample:08x}") for sample in range(4)] == [
            *["done"] * 3,
            "new",
        ]
        assert ledger.state_of(ref, 1, "f" * 16) == "changed"
        assert ledger.index_of(ref, 2, 9) == index
    assert ledger.state_of(id_of(-1), 0, "1") == ledger.state_of(10**7, 0, "1") == "new"
    assert ledger.index_of(id_of(-1), 0, 9) == 9


def test_a_later_drawing_of_a_picture_takes_the_place_of_the_earlier() -> None:
    ledger = Ledger()
    ledger.put("ab" * 8, 0, 3, "1")
    ledger.put("ab" * 8, 0, 5, "2")
    assert ledger.pictures == 1
    assert (ledger.state_of("ab" * 8, 0, "2"), ledger.index_of("ab" * 8, 0, 0)) == ("done", 5)


def test_a_record_that_was_read_gives_its_index_to_all_of_its_pictures() -> None:
    ledger = Ledger()
    for sample in (0, 2):
        ledger.put("ab" * 8, sample, 3, "1")
    ledger.put("cd" * 8, 0, 4, "1")
    ledger.note_record("ab" * 8, 7, 1)
    ledger.note_record("ef" * 8, 8, 1)
    assert [ledger.index_of("ab" * 8, sample, 0) for sample in (0, 2)] == [7, 7]
    assert [ledger.is_seen(ref, 0) for ref in ("ab" * 8, "cd" * 8, "ef" * 8)] == [True, False, True]
    assert ledger.seen == 2


def test_only_pictures_of_a_skill_that_has_another_digest_now_have_changed() -> None:
    ledger = Ledger()
    for number, (skill, digest) in enumerate([("a", "1"), ("a", "2"), ("b", "1"), (None, ""), ("own", "")]):
        ledger.put(id_of(number), 0, number, "1", skill, digest)
    assert ledger.compare_skills({"a": "2", "b": "1", "new": "1"}) == ["skill a edited"]
    assert [ledger.state_of(id_of(number), 0, "1") for number in range(5)] == ["changed", *["done"] * 4]
    assert ledger.compare_skills({"a": "1"}) == ["skill a edited", "skill b removed"]
    assert [ledger.state_of(id_of(number), 0, "1") for number in range(5)] == ["done", *["changed"] * 2, *["done"] * 2]
    assert {*ledger.skills} == {"a", "b"}


def test_a_table_tells_new_ids_from_known_ones() -> None:
    table = IdTable()
    numbers = [number_of(index, 0) for index in range(1_000)]
    assert all(table.add_new(number) for number in numbers)
    assert not any(table.add_new(number) for number in numbers)


def test_an_id_whose_bytes_lie_across_two_others_is_not_found() -> None:
    table = IdTable("I")
    first, second = 0x00_11_22_33_00_10_66_77, 0x00_10_88_99_AA_BB_CC_DD
    across = 0x00_10_66_77_00_10_88_99
    table.add(first, 1)
    table.add(second, 2)
    assert table.find(across) is None
    table.add(across, 3)
    assert [table.find(id_) for id_ in (first, second, across)] == [((array("I", [1, 2, 3]),), at) for at in range(3)]


def test_other_metadata_of_a_record_is_noticed_and_older_rows_have_none_to_compare() -> None:
    ledger = Ledger()
    ledger.put("ab" * 8, 0, 0, "1", metadata="{}")
    ledger.put("cd" * 8, 0, 1, "1")
    ledger.note_record("ab" * 8, 0, 1, "{}")
    ledger.note_record("cd" * 8, 1, 1, '{"tag":1}')
    assert not ledger.has_new_metadata
    ledger.note_record("ab" * 8, 0, 1, '{"tag":1}')
    assert ledger.has_new_metadata
