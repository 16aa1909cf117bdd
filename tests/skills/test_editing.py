"""Changes of a skill are bounded, fit one version only, and give a skill that every client reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from skills import check_skill, load_skill
from skills.editing import Edit, SkillEditError, apply_edits, check_instructions, skill_text

RULES = "# Rules\n\n- Say it first.\n- Say it twice.\n"


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (Edit("add", "", "- Third."), "# Rules\n\n- Say it first.\n- Say it twice.\n- Third."),
        (Edit("add", "- Say it first.", "- Between."), "# Rules\n\n- Say it first.\n- Between.\n- Say it twice."),
        (Edit("delete", " - Say it twice. ", ""), "# Rules\n\n- Say it first."),
        (Edit("replace", "- Say it first.", "- Say it last."), "# Rules\n\n- Say it last.\n- Say it twice."),
    ],
)
def test_a_line_is_added_deleted_or_replaced(edit: Edit, expected: str) -> None:
    assert apply_edits(RULES, [edit]) == expected


@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        ([Edit("delete", "- Not there.", "")], "expected one line '- Not there.' in the skill, got none"),
        ([Edit("replace", "- Say it first.", " ")], "expected a text to replace, got none"),
        ([], "expected changes, got the instructions as they were"),
        ([Edit("add", "", "- A."), Edit("delete", "- A.", "")], "expected changes, got the instructions as they were"),
        ([Edit("add", "", "x" * 9_000)], "expected instructions of at most 8000 characters"),
        ([Edit("add", "", "\x1b[2J")], "got control characters"),
        ([Edit("delete", line, "") for line in ("# Rules", "- Say it first.", "- Say it twice.")], "got none"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(edits: list[Edit], reason: str) -> None:
    with pytest.raises(SkillEditError) as caught:
        apply_edits(RULES, edits)
    assert reason in str(caught.value)


def test_a_line_that_stands_there_twice_is_not_guessed() -> None:
    with pytest.raises(SkillEditError, match="got 2 of them"):
        apply_edits("- A.\n- A.", [Edit("delete", "- A.", "")])


@pytest.mark.parametrize(
    "description", ["Use it for: 'counts', \"texts\" and 数.", "- dash # hash", "a" * 1_000, "{x: 1}"]
)
def test_a_written_skill_is_read_back_as_it_was_by_both_formats(tmp_path: Path, description: str) -> None:
    folder = tmp_path / "clear-counts"
    folder.mkdir()
    text = skill_text("clear-counts", description, check_instructions(RULES), {"learnt-gain": "0.05", "why": "a: b"})
    (folder / "SKILL.md").write_text(text)
    assert check_skill(folder, for_gems=True) == ((), ())
    skill = load_skill(folder)
    assert (skill.description, skill.instructions) == (description, RULES.strip())
