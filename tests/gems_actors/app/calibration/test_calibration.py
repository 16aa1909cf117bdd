"""Thresholds are fitted to known answers, measured on pictures that were held out, and written as settings."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gems_actors.app.calibration.cases import read_cases
from gems_actors.app.calibration.fitting import calibration_error, can_fit, fit, measure, thresholds_of
from gems_actors.app.calibration.runner import check_target
from gems_actors.config import load_config
from gems_actors.errors import ConfigError, UsageError
from tests.gems_actors.backends.storyboard.pictures import draw_without_errors
from tests.gems_actors.cli.commands import run_gems
from tests.gems_actors.test_files import KINDS, make

needs_sklearn = pytest.mark.skipif(find_spec("sklearn") is None, reason="the extra `calibrate` is not installed")


def overconfident(count: int, *, seed: int = 0, shift: float = 1.5) -> tuple[list[float], list[bool]]:
    """Return scores whose logit is three times too large and shifted upwards, and the answers."""
    random = Random(seed)
    truth = [random.gauss(0, 1.5) for _ in range(count)]
    answers = [random.random() < 1 / (1 + math.exp(-logit)) for logit in truth]
    return [1 / (1 + math.exp(-(3 * logit + shift))) for logit in truth], answers


def write_cases(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def scored(path: Path, count: int = 600) -> Path:
    """Write cases of two kinds with scores: counts are overconfident, objects are not."""
    rows = []
    for kind, (scores, answers) in {"count": overconfident(count), "object": overconfident(count, seed=1)}.items():
        for number, (score, answer) in enumerate(zip(scores, answers, strict=True)):
            row = {"image": f"{number}.png", "question": "Is it?", "answer": "yes" if answer else "no"}
            rows.append(row | {"kind": kind, "score": score})
    return write_cases(path, rows)


@needs_sklearn
@pytest.mark.parametrize("method", ["platt", "isotonic"])
@pytest.mark.slow
def test_a_fit_makes_overconfident_scores_honest_and_does_not_change_their_order(method: Any) -> None:
    calibration = fit(*overconfident(2000), method)
    assert calibration is not None
    scores, answers = overconfident(2000, seed=5)
    before, after = measure(scores, answers), measure([calibration(score) for score in scores], answers)
    assert before.ece is not None
    assert after.ece is not None
    assert before.ece > 0.15
    assert after.ece < 0.06
    assert after.auroc == pytest.approx(before.auroc, abs=0.01)


@pytest.mark.slow
@needs_sklearn
def test_thresholds_are_where_the_probability_is_that_of_the_defaults() -> None:
    calibration = fit(*overconfident(5000, shift=3.0), "platt")
    assert calibration is not None
    found = thresholds_of(calibration)
    assert calibration(found.met_from) == pytest.approx(0.6, abs=0.01)
    assert calibration(found.unmet_below) == pytest.approx(0.4, abs=0.01)
    assert found.met_from > 0.9


@needs_sklearn
@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_scores_that_tell_nothing_or_the_reverse_give_no_thresholds(method: Any) -> None:
    scores, answers = overconfident(500)
    assert fit([1 - score for score in scores], answers, method) is None
    few, right = overconfident(40, seed=7)  # where chance makes single steps rise
    assert fit([1 - score for score in few], right, method) is None


def test_the_calibration_error_is_the_known_one() -> None:
    assert calibration_error([0.95] * 10, [True] * 8 + [False] * 2) == pytest.approx(0.15)
    assert calibration_error([0.05, 0.95], [False, True]) == pytest.approx(0.05)
    assert calibration_error([1.0], [True]) == 0.0


def test_a_fit_needs_cases_of_both_answers() -> None:
    assert can_fit([True] * 25 + [False] * 5)
    assert not can_fit([True] * 40 + [False] * 4)
    assert not can_fit([True, False] * 10)


@pytest.mark.slow
@needs_sklearn
@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_the_command_writes_settings_that_a_mesh_file_includes(tmp_path: Path, method: str) -> None:
    scored(tmp_path / "known.jsonl")
    done = run_gems(tmp_path, "verify", "calibrate", "known.jsonl", "--out", "mine.toml", "--method", method)
    assert done.returncode == 0, done.stderr
    head, overall, *kinds, last = done.stdout.splitlines()
    assert head.split() == [
        "cases",
        "yes",
        "held",
        "out",
        "AUROC",
        "after",
        "ECE",
        "after",
        "met",
        "from",
        "unmet",
        "below",
    ]
    assert [line.split()[0] for line in (overall, *kinds)] == ["all", "object", "count"]
    assert last == 'wrote mine.toml; in the mesh file: include = ["mine.toml"]'
    ece_before, ece_after = (float(overall.split()[place]) for place in (6, 7))
    assert ece_after < ece_before / 2
    (tmp_path / "mesh.toml").write_text('include = ["mine.toml"]\n[verify]\nunmet_below = 0.2\n')
    verify = load_config(tmp_path / "mesh.toml", {}).verify
    assert verify.thresholds.count is not None
    assert verify.thresholds_of("count").met_from > 0.6
    assert verify.thresholds.text is None
    assert verify.unmet_below == 0.2, "the mesh file wins"


@pytest.mark.slow
@needs_sklearn
def test_the_same_cases_give_the_same_figures_and_json_tells_them_all(tmp_path: Path) -> None:
    scored(tmp_path / "known.jsonl", 300)
    told = [run_gems(tmp_path, "verify", "calibrate", "known.jsonl", "--json").stdout for _ in range(2)]
    assert told[0] == told[1]
    found = json.loads(told[0])["groups"]["all"]
    assert 150 < found["held_out"] < 250
    assert found["after"]["ece"] < found["before"]["ece"]


@pytest.mark.slow
@needs_sklearn
def test_questions_without_a_score_are_asked_and_a_kind_with_few_cases_is_as_all(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for number, (prompt, question) in enumerate((p, q) for p in ("a cat", "a dog") for q in ("cat", "dog")):
        (tmp_path / f"{number}.png").write_bytes(draw_without_errors(prompt, width_px=320, height_px=256))
        answer = "yes" if question in prompt else "no"
        rows += [{"image": f"{number}.png", "question": f"Is there a {question} in the image?", "answer": answer}]
    rows += [
        {"image": f"x{n}.png", "question": "?", "answer": n % 2, "score": n % 2, "kind": "text"} for n in range(60)
    ]
    write_cases(tmp_path / "known.jsonl", rows)
    done = run_gems(tmp_path, "verify", "calibrate", "known.jsonl", "--set", "chat.backend=storyboard")
    assert done.returncode == 0, done.stderr
    assert "asking 4 questions" in done.stderr
    assert "4 answers were words without a probability" in done.stderr
    assert (tmp_path / "thresholds.toml").exists()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[]", "line 2: expected a JSON object, got '[]'"),
        ("{", "line 2: expected a JSON object, got '{'"),
        ({"image": None}, "line 2: expected the path of a picture as `image`, got none"),
        ({"image": "none.png"}, "line 2: expected a picture that exists as `image`, got 'none.png'"),
        ({"question": ""}, "line 2: expected a question of up to 2000 characters as `question`, got ''"),
        ({"answer": "maybe"}, "line 2: expected yes or no as `answer`, got 'maybe'"),
        (
            {"kind": "mood"},
            "line 2: expected one of object, count, attribute, position, action, text, style, other as `kind`",
        ),
        ({"score": 1.5}, "line 2: expected a number from 0 to 1 as `score`, got 1.5"),
        ({"score": "nan"}, "line 2: expected a number from 0 to 1 as `score`, got 'nan'"),
        ({"score": True}, "line 2: expected a number from 0 to 1 as `score`, got True"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path: Path, line: object, expected: str) -> None:
    (tmp_path / "a.png").write_bytes(b"a picture")
    good = {"image": "a.png", "question": "Is it?", "answer": "yes"}
    text = line if isinstance(line, str) else json.dumps({**good, **line})  # type: ignore[dict-item]
    (tmp_path / "known.jsonl").write_text(f"{json.dumps(good)}\n{text}\n")
    with pytest.raises(UsageError) as caught:
        read_cases(tmp_path / "known.jsonl")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@needs_sklearn
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "expected JSON lines or CSV, got: no such file"),
        (b"", "expected pictures, questions and answers, got none"),
        (b"\xff\xfe", "got: bytes that are not UTF-8"),
        (
            b'{"image": "a", "question": "?", "answer": "yes", "score": 1}\n',
            "expected at least 30 cases that are not held out",
        ),
    ],
)
def test_a_file_that_cannot_be_used_ends_with_a_usage_error(
    tmp_path: Path, content: bytes | None, expected: str
) -> None:
    if content is not None:
        (tmp_path / "known.jsonl").write_bytes(content)
    done = run_gems(tmp_path, "verify", "calibrate", "known.jsonl")
    assert done.returncode == 2
    assert expected.lower() in done.stderr.lower()
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "thresholds.toml").exists()


@pytest.mark.parametrize(("kind", "reason"), KINDS.items())
def test_cases_that_are_no_file_are_refused_at_once(tmp_path: Path, kind: str, reason: str) -> None:
    with pytest.raises(UsageError, match=f"expected JSON lines or CSV, got: {reason}"):
        read_cases(make(tmp_path, kind))


def test_a_target_that_is_a_named_pipe_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--out: .*: expected a file to write, got: a named pipe, not a file"):
        check_target(make(tmp_path, "named pipe"))


def test_csv_has_the_same_fields(tmp_path: Path) -> None:
    with (tmp_path / "known.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "question", "answer", "kind", "score"])
        writer.writerow(["a.png", 'Does it say "one, two"?', "No", "text", "0.25"])
        writer.writerow(["b.png", "Is it?", "TRUE", "", "1"])
    first, second = read_cases(tmp_path / "known.csv")
    assert (first.question, first.is_met, first.kind, first.score) == ('Does it say "one, two"?', False, "text", 0.25)
    assert (second.is_met, second.kind, second.picture) == (True, None, tmp_path / "b.png")


def test_the_line_of_a_row_of_csv_is_that_of_an_editor(tmp_path: Path) -> None:
    (tmp_path / "known.csv").write_text("image,question,answer,score\na.png,Is it?,yes,1\n\na.png,Is it?,maybe,1\n")
    with pytest.raises(UsageError, match="line 4: expected yes or no as `answer`, got 'maybe'"):
        read_cases(tmp_path / "known.csv")


@pytest.mark.slow
@needs_sklearn
def test_a_file_that_is_not_one_of_thresholds_is_not_replaced(tmp_path: Path) -> None:
    known = scored(tmp_path / "known.jsonl", 60)
    content = known.read_bytes()
    (tmp_path / "mesh.toml").write_text("[verify]\nvotes = 3\n")
    for out in ("known.jsonl", "mesh.toml", "."):
        done = run_gems(tmp_path, "verify", "calibrate", "known.jsonl", "--out", out)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(f"gems: --out: {out}: expected ")
        assert done.stderr.count("\n") == 1
    assert known.read_bytes() == content
    assert (tmp_path / "mesh.toml").read_text() == "[verify]\nvotes = 3\n"
    for _ in range(2):  # one of thresholds is
        assert run_gems(tmp_path, "verify", "calibrate", "known.jsonl", "--out", "mine.toml").returncode == 0


@pytest.mark.slow
@needs_sklearn
def test_no_file_is_written_where_no_score_tells_met_from_unmet(tmp_path: Path) -> None:
    rows = [{"image": f"{n}.png", "question": "?", "answer": n % 2, "score": 0.5, "kind": "text"} for n in range(120)]
    write_cases(tmp_path / "known.jsonl", rows)
    done = run_gems(tmp_path, "verify", "calibrate", "known.jsonl")
    assert done.returncode == 1
    assert done.stderr == "gems: expected scores that tell met from unmet, got ones that do not; wrote no file\n"
    assert "wrote" not in done.stdout
    assert not (tmp_path / "thresholds.toml").exists()


@needs_sklearn
def test_a_damaged_picture_is_named_before_any_question_is_asked(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(draw_without_errors("a red cat"))
    (tmp_path / "bad.png").write_bytes(b"garbage")
    rows = [{"image": f"{n}.png", "question": "?", "answer": n % 2, "score": n % 2} for n in range(60)]
    rows += [{"image": name, "question": "Is it?", "answer": "yes"} for name in ("good.png", "bad.png")]
    write_cases(tmp_path / "known.jsonl", rows)
    done = run_gems(tmp_path, "verify", "calibrate", "known.jsonl")
    assert done.returncode == 2
    assert done.stderr.startswith("gems: FILE: known.jsonl: line 62: expected a picture as `image`, got 'bad.png': ")
    assert done.stderr.count("\n") == 1


def test_all_questions_about_a_picture_are_held_out_together(tmp_path: Path) -> None:
    cases = read_cases(scored(tmp_path / "known.jsonl"))
    sides: dict[str, set[bool]] = {}
    for case in cases:
        sides.setdefault(case.image, set()).add(case.is_held_out)
    assert all(len(found) == 1 for found in sides.values())
    assert 0.28 < sum(case.is_held_out for case in cases) / len(cases) < 0.39


# -------------------------------------------------------------------------------------------------------- include


def test_an_included_file_has_paths_of_its_own_folder_and_less_weight(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "verify.toml").write_text('data_dir = "kept"\n[draw]\nsteps = 7\nmax_rounds = 2\n')
    (tmp_path / "mesh.toml").write_text('include = ["more/verify.toml"]\n[draw]\nmax_rounds = 3\n')
    config = load_config(tmp_path / "mesh.toml", {})
    assert (config.draw.steps, config.draw.max_rounds) == (7, 3)
    assert config.data_dir == str(tmp_path / "more" / "kept")


@pytest.mark.parametrize(
    ("mesh", "included", "expected"),
    [
        ('include = ["none.toml"]', "", "none.toml: expected a readable TOML file, got"),
        ('include = "verify.toml"', "", "mesh.toml: include: expected a list, got"),
        (
            'include = ["verify.toml"]',
            'include = ["mesh.toml"]',
            "verify.toml: include: expected it only in the mesh file",
        ),
        ('include = ["verify.toml"]', "[verify]\nmet_form = 1", "verify.toml: verify.met_form: expected a known key"),
    ],
)
def test_an_included_file_that_cannot_be_used_is_named(tmp_path: Path, mesh: str, included: str, expected: str) -> None:
    (tmp_path / "verify.toml").write_text(included)
    (tmp_path / "mesh.toml").write_text(mesh)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "mesh.toml", {})
    assert expected in str(caught.value)


def test_only_a_mesh_file_includes_files(tmp_path: Path) -> None:
    (tmp_path / "verify.toml").write_text("[verify]\nvotes = 3\n")
    expected = "include: expected it only in the mesh file"
    with pytest.raises(ConfigError, match=f"--set: {expected}"):
        load_config(None, {}, [f'include=["{tmp_path}/verify.toml"]'])
    with pytest.raises(ConfigError, match=f"environment GEMS__INCLUDE: {expected}"):
        load_config(None, {"GEMS__INCLUDE": f'["{tmp_path}/verify.toml"]'})
