"""Learnt skills are new versions; no file of a person is replaced or moved, and what is retired comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from gems_actors.app.skills.shelf import GAIN_KEY, Accepted, Shelf, metadata_of
from gems_actors.errors import UsageError
from skills import Catalogue, check_skill, load_skill
from skills.editing import skill_text
from tests.skills.files import OPEN_FORMAT, write_skill


def accept(shelf: Shelf, id_: str, rule: str, *, gain: float = 0.1, cap: int = 8) -> Accepted:
    folder = shelf.folder.parent / "draft" / id_
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "SKILL.md").write_text(skill_text(id_, "Use for counts.", rule, {}))
    digest = load_skill(folder).digest
    return shelf.accept(id_, "Use for counts.", rule, {GAIN_KEY: str(gain)}, digest=digest, cap=cap)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "skills")


def test_an_accepted_skill_is_valid_and_accepting_it_again_changes_nothing(shelf: Shelf) -> None:
    first = accept(shelf, "counts", "- One.")
    assert (first.id, first.retired) == ("counts", ())
    assert check_skill(first.path, for_gems=True) == ((), ())
    before = (first.path / "SKILL.md").stat().st_mtime_ns
    assert accept(shelf, "counts", "- One.") == first
    assert (first.path / "SKILL.md").stat().st_mtime_ns == before


def test_a_new_version_retires_the_one_before_and_restoring_exchanges_them(shelf: Shelf) -> None:
    accept(shelf, "counts", "- One.")
    second = accept(shelf, "counts", "- Two.")
    (retired,) = second.retired
    assert [skill.id for skill in Catalogue([shelf.folder]).skills()] == ["counts"]
    assert load_skill(shelf.folder / "counts").instructions == "- Two."
    back = shelf.restore("counts")
    assert load_skill(back.path).instructions == "- One."
    assert not retired.exists()
    assert [skill.id for skill in shelf.retired()] == [back.retired[0].name]
    shelf.restore("counts")
    assert load_skill(shelf.folder / "counts").instructions == "- Two."


def test_a_persons_file_is_left_alone_also_if_it_was_learnt_once(shelf: Shelf) -> None:
    own = write_skill(shelf.folder, "counts", OPEN_FORMAT)
    before = (own / "SKILL.md").read_bytes()
    learnt = accept(shelf, "counts", "- One.")
    assert learnt.id == "counts-learnt"
    edited = learnt.path / "SKILL.md"
    edited.write_text(edited.read_text().replace("- One.", "- One, and more by hand."))
    assert accept(shelf, "counts", "- Two.").id == "counts-learnt-3"
    assert (own / "SKILL.md").read_bytes() == before
    assert "more by hand" in edited.read_text()
    with pytest.raises(UsageError, match="expected a learnt skill that no person has changed"):
        shelf.retire("counts-learnt")


def test_beyond_the_cap_those_that_helped_least_are_retired(shelf: Shelf) -> None:
    for number, gain in enumerate((0.03, 0.01, 0.02)):
        accept(shelf, f"skill-{number}", f"- Rule {number}.", gain=gain)
    latest = accept(shelf, "skill-9", "- Rule 9.", gain=0.001, cap=2)
    assert [skill.id for skill in shelf.active()] == ["skill-0", "skill-9"]
    assert sorted(path.name.rpartition("-")[0] for path in latest.retired) == ["skill-1", "skill-2"]
    assert shelf.restore("skill-1").id == "skill-1"
    assert metadata_of(shelf.folder / "skill-1")[GAIN_KEY] == "0.01"


def test_what_is_not_retired_cannot_be_restored_over_a_person(shelf: Shelf) -> None:
    accept(shelf, "counts", "- One.")
    shelf.retire("counts")
    write_skill(shelf.folder, "counts", OPEN_FORMAT)
    with pytest.raises(UsageError, match="expected a free place for counts, got a skill that a person wrote"):
        shelf.restore("counts")
    with pytest.raises(UsageError, match=r"NAME: expected a retired skill, one of counts-[0-9a-f]{16}, got 'hats'"):
        shelf.restore("hats")
