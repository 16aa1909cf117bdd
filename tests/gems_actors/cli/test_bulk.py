"""`gems bulk` from end to end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tarfile
import time
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from gems_actors.locks import hold_lock
from tests.gems_actors.cli.commands import COMMAND, environment, run_on_terminal, summary_in
from tests.gems_actors.cli.commands import run_gems as run_at_any_size
from tests.gems_actors.cli.test_draw import HARD, processes_below
from tests.processes import started

pytestmark = pytest.mark.slow

SMALL = {"GEMS__DRAW__WIDTH_PX": "128", "GEMS__DRAW__HEIGHT_PX": "128"}
"""Variables for pictures that cost a seventh of the usual ones; no test here is about what is in them."""

run_gems = partial(run_at_any_size, more=SMALL)


def rows(path: Path) -> list[dict[str, object]]:
    """Return the rows of a .jsonl file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_bad_line_fails_alone_and_a_second_run_continues(tmp_path: Path) -> None:
    good = ['{"prompt": "a red dog", "tag": "x"}', '{"prompt": "two metal toys", "seed": 7}']
    (tmp_path / "prompts.jsonl").write_text("\n".join([good[0], "nonsense", good[1], '{"prompt": ""}', ""]))
    first = run_gems(tmp_path, "bulk", "prompts.jsonl", "--out", "out", "--json")
    summary = summary_in(first.stdout)
    assert (first.returncode, summary["pictures"], summary["failures"]) == (1, 2, 2)
    drawn = rows(tmp_path / "out/dataset/metadata.jsonl")
    assert [row["index"] for row in drawn] == [0, 2]
    assert [row["file_name"] for row in drawn] == [f"images/{str(row['task'])[:2]}/{row['task']}.png" for row in drawn]
    assert {row["index"]: row["class"] for row in rows(tmp_path / "out/failed.jsonl")} == {1: "input", 3: "input"}

    (tmp_path / "prompts.jsonl").write_text("\n".join([*good[:1], "", good[1], '{"prompt": "a pig"}']))
    second = run_gems(tmp_path, "bulk", "prompts.jsonl", "--out", "out", "--json")
    assert second.stderr.startswith("continued: 2 done before\n")
    summary = summary_in(second.stdout)
    assert (second.returncode, summary["pictures"], summary["done_before"]) == (0, 3, 2)
    assert "\x1b" not in first.stderr + second.stderr
    assert processes_below(tmp_path) == []


def test_the_same_seed_gives_the_same_pictures_in_another_folder(tmp_path: Path) -> None:
    for name in ("one", "two"):
        done = run_gems(tmp_path, "bulk", "-", "--out", name, "--seed", "5", stdin=b"a red dog\nthree pigs\n")
        assert done.returncode == 0
    pictures = [str(row["file_name"]) for row in rows(tmp_path / "one/dataset/metadata.jsonl")]
    assert len(pictures) == 2
    for picture in pictures:
        assert (tmp_path / "one/dataset" / picture).read_bytes() == (tmp_path / "two/dataset" / picture).read_bytes()


def test_ctrl_c_finishes_tasks_in_flight_and_the_same_command_continues(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text(f"{HARD}\n" * 16)
    command = ["bulk", "prompts.txt", "--out", "out", "--concurrency", "2", "--rounds", "1"]
    metadata = tmp_path / "out/dataset/metadata.jsonl"
    with started(
        [*COMMAND, *command], cwd=tmp_path, env=environment(tmp_path, **SMALL), stderr=subprocess.PIPE
    ) as process:
        while not (metadata.exists() and metadata.stat().st_size):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        output = process.stderr.read()
        assert process.wait(60) == 130
    done = len(rows(metadata))
    assert output.endswith(f"gems: interrupted: {done} of 16 done, {16 - done} left; the same command continues\n")
    assert processes_below(tmp_path) == []
    again = run_gems(tmp_path, *command)
    assert again.returncode == 0
    assert again.stderr.startswith(f"continued: {done} done before\n")
    assert sorted(int(str(row["index"])) for row in rows(metadata)) == list(range(16))


def test_ctrl_c_while_pictures_are_drawn_again_leaves_the_run_unfinished(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red dog\n" * 12)
    command = ["bulk", "prompts.txt", "--out", "out", "--concurrency", "1", "--rounds", "1"]
    assert run_gems(tmp_path, *command).returncode == 0
    metadata = tmp_path / "out/dataset/metadata.jsonl"
    size = metadata.stat().st_size
    command += ["--seed", "2"]
    assert run_gems(tmp_path, *command).returncode == 2
    with started(
        [*COMMAND, *command, "--redraw"], cwd=tmp_path, env=environment(tmp_path, **SMALL), stderr=subprocess.PIPE
    ) as process:
        while metadata.stat().st_size == size:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        output = process.stderr.read()
        assert process.wait(60) == 130
    assert output.endswith("gems: interrupted: 12 of 12 exist, but not all were checked; the same command continues\n")
    again = run_gems(tmp_path, *command, "--json")
    assert (again.returncode, summary_in(again.stdout)["pictures"]) == (0, 12)


def test_records_have_their_own_settings_and_samples_and_parts_can_be_selected(tmp_path: Path) -> None:
    (tmp_path / "prompts.csv").write_text(
        "prompt,size,samples,rounds,skill,tag\n"
        "a red dog,64x96,2,1,none,x\n"
        "three pigs,,,1,spatial-layout,y\n"
        "a glass owl,,,1,nonsense,z\n"
        "two metal toys,,,1,,\n"
    )
    command = ("bulk", "prompts.csv", "--out", "out", "--json")
    limited = run_gems(tmp_path, *command, "--limit", "1")
    assert (limited.returncode, summary_in(limited.stdout)["pictures"]) == (0, 1)
    for shard in ("1/2", "2/2"):
        run_gems(tmp_path, *command, "--shard", shard)
    whole = run_gems(tmp_path, *command)
    summary = summary_in(whole.stdout)
    assert (whole.returncode, summary["pictures"], summary["done_before"]) == (1, 4, 4)
    found = rows(tmp_path / "out/dataset/metadata.jsonl")
    assert [(row["index"], row.get("sample", 0), row.get("skill")) for row in found] == [
        (0, 0, None), (0, 1, None), (1, 0, "spatial-layout"), (3, 0, found[3].get("skill")),
    ]  # fmt: skip
    assert [json.loads(str(row["metadata"])) for row in found] == [{"tag": "x"}, {"tag": "x"}, {"tag": "y"}, {}]
    assert len({row["seed"] for row in found}) == 4
    with Image.open(tmp_path / "out/dataset" / str(found[1]["file_name"])) as picture:
        assert picture.size == (64, 96)
    (failed,) = rows(tmp_path / "out/failed.jsonl")
    assert (failed["index"], failed["class"], failed["skill"], failed["tag"]) == (2, "refused", "nonsense", "z")
    assert "skill: expected none or one of " in str(failed["reason"])


def test_a_shard_does_not_count_as_the_whole_run(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("an owl\nthree pigs\n")
    run_gems(tmp_path, "bulk", "prompts.txt", "--out", "out", "--rounds", "1", "--shard", "1/2")
    (run,) = json.loads(run_gems(tmp_path, "memory", "runs", "--data", "out", "--json").stdout)
    assert (run["ended"], run["total"]) == (1, None)


def test_finished_pictures_are_drawn_again_only_with_consent(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red dog\nthree pigs\n")
    command = ("bulk", "prompts.txt", "--out", "out", "--json")
    assert run_gems(tmp_path, *command).returncode == 0
    metadata = tmp_path / "out/dataset/metadata.jsonl"
    before = metadata.read_bytes()
    (tmp_path / "prompts.txt").write_text("an owl\nthree pigs\na red dog\n")
    for dry in ((), ("--dry-run",)):
        refused = run_gems(tmp_path, *command, "--rounds", "1", *dry)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert "got draw.max_rounds 5 -> 1, which would replace 2 of 2 finished pictures" in refused.stderr
    assert json.loads(refused.stdout)["changed"] == 2
    both = run_gems(tmp_path, *command, "--keep", "--redraw")
    assert (both.returncode, both.stderr.count("\n")) == (2, 1)
    assert metadata.read_bytes() == before
    kept = run_gems(tmp_path, *command, "--rounds", "1", "--keep")
    assert (kept.returncode, summary_in(kept.stdout)["done_before"]) == (0, 2)
    assert [row["prompt"] for row in rows(metadata)] == ["an owl", "three pigs", "a red dog"]
    again = run_gems(tmp_path, *command, "--rounds", "1", "--redraw")
    line = "2 of these were drawn again: its prompt, seed, settings, models or skill had changed"
    assert line in again.stderr.splitlines()
    assert run_gems(tmp_path, *command, "--rounds", "1").stderr.startswith("continued: 3 done before\n")


def test_failed_tasks_are_retried_by_folder_and_class(tmp_path: Path) -> None:
    lines = [{"prompt": "a red dog", "skill": "later"}, {"prompt": ""}, {"prompt": "three pigs"}]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    first = run_gems(tmp_path, "bulk", "prompts.jsonl", "--out", "out", "--rounds", "1")
    assert first.returncode == 1
    none = run_gems(tmp_path, "bulk", "retry", "out", "--class", "backend")
    assert (none.returncode, none.stderr) == (0, "nothing failed in out with class backend\n")
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({**line, "skill": "none"}) + "\n" for line in lines))
    retried = run_gems(tmp_path, "bulk", "retry", "out", "--class", "refused", "--json")
    summary = summary_in(retried.stdout)
    assert (retried.returncode, summary["pictures"], summary["failures"]) == (0, 2, 0)
    assert [row["rounds"] for row in rows(tmp_path / "out/dataset/metadata.jsonl")] == [1, 1], "with the same settings"
    assert [row["class"] for row in rows(tmp_path / "out/failed.jsonl")] == ["input"]
    with hold_lock(tmp_path / "out/.mesh/bulk.lock"):
        assert run_gems(tmp_path, "bulk", "retry", "out").returncode == 2
    assert [row["class"] for row in rows(tmp_path / "out/failed.jsonl")] == ["input"], (
        "another process fills the folder"
    )
    stranger = run_gems(tmp_path, "bulk", "retry", ".")
    assert (stranger.returncode, stranger.stderr.count("\n")) == (2, 1)
    assert "expected the output of `gems bulk`, got none" in stranger.stderr


def test_tasks_whose_rounds_are_spent_continue_with_more_of_them(tmp_path: Path) -> None:
    hard = "seven croissants, and five black elephants to the left of a flamingo"
    (tmp_path / "prompts.txt").write_text(f"{hard}\n")
    small = ("--size", "256x256")
    assert run_gems(tmp_path, "bulk", "prompts.txt", "--out", "out", "--rounds", "1", *small).returncode == 0
    (before,) = rows(tmp_path / "out/dataset/metadata.jsonl")
    assert before["outcome"] == "rounds_spent"
    retry = ("bulk", "retry", "out")
    for wrong, told in (
        (("--outcome", "rounds_spent"), "--outcome rounds_spent: expected more --rounds than before, got none"),
        (("--outcome", "all", "--class", "backend"), "--class: expected either it or --outcome, got both"),
        (("--rounds", "3"), "--rounds: expected it with --outcome, got it alone"),
    ):
        refused = run_gems(tmp_path, *retry, *wrong)
        assert (refused.returncode, told in refused.stderr) == (2, True)
    none = run_gems(tmp_path, *retry, "--outcome", "all")
    assert (none.returncode, none.stderr) == (0, "nothing ended so that it could continue in out\n")
    done = run_gems(tmp_path, *retry, "--outcome", "all", "--rounds", "3")
    assert done.returncode == 0
    assert "1 of these was continued" in done.stderr
    (after,) = rows(tmp_path / "out/dataset/metadata.jsonl")
    assert str(before["digests"])[1:-1] in str(after["digests"])
    assert (after["key"], after["file_name"]) == (before["key"], before["file_name"])
    assert after["rounds"] in (2, 3)
    again = run_gems(tmp_path, "bulk", "prompts.txt", "--out", "out", "--rounds", "1", *small, "--json")
    assert summary_in(again.stdout)["done_before"] == 1


def test_a_retry_keeps_format_and_attempts(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "nonsense", "skill": "later"}\n')
    shape = ("--pictures", "jpeg", "--attempts", "--strategy", "best-of-n", "--images", "2")
    assert run_gems(tmp_path, "bulk", "prompts.jsonl", "--out", "out", *shape).returncode == 1
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a red dog"}\n')
    retried = run_gems(tmp_path, "bulk", "retry", "out", "--json")
    assert (retried.returncode, summary_in(retried.stdout)["pictures"]) == (0, 1)
    found = rows(tmp_path / "out/dataset/metadata.jsonl")
    assert {row["candidate"] for row in found} == {1, 2}
    assert [row["chosen"] for row in found] == [False, True]
    assert {Path(str(row["file_name"])).suffix for row in found} == {".jpg"}
    (shard,) = run_gems(tmp_path, "bulk", "export", "out", "--as", "webdataset").stdout.split()
    with tarfile.open(tmp_path / shard) as members:
        assert sorted(name for name in members.getnames() if name.endswith("jpg"))[1:] == [f"{found[1]['task']}.jpg"]
    other = run_gems(tmp_path, "bulk", "prompts.jsonl", "--out", "out")
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)


def test_on_a_terminal_a_bar_repaints_itself(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red dog\n" * 3)
    code, text = run_on_terminal(tmp_path, "bulk", "prompts.txt", "--out", "out", "--rounds", "1")
    assert code == 0
    assert re.search(r"\x1b\[\d+F", text)
    assert "3 of 3 · " in text
    assert text.rindex("\x1b[?25h") < text.index("pictures           3"), "the cursor is back before the summary"


def test_status_shows_progress_and_failures_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a red dog"}\n{"prompt": "three pigs", "skill": "later"}\nno\n')
    run_gems(tmp_path, "bulk", "prompts.jsonl", "--out", "out", "--rounds", "1")
    lines = run_gems(tmp_path, "bulk", "status", "out").stdout.splitlines()
    assert lines[0].split() == ["source", f"{tmp_path}/prompts.jsonl"]
    assert lines[1].split(maxsplit=1) == ["running", "no; finished; `gems bulk retry DIR` draws the failed tasks again"]
    assert [line.split() for line in lines[2:4]] == [["pictures", "1"], ["failed", "2"]]
    assert [line.split()[:2] for line in lines[4:6]] == [["input", "1:"], ["refused", "1:"]]
    with hold_lock(tmp_path / "out/.mesh/bulk.lock"):
        found = json.loads(run_gems(tmp_path, "bulk", "status", "out", "--json").stdout)
    assert found["running"] == f"process {os.getpid()}"
    assert (found["pictures"], found["failed"]) == (1, {"input": 1, "refused": 1})


def test_a_dry_run_counts_and_checks_and_draws_nothing(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a dog", "samples": 3}\n{"prompt": "a pig", "rounds": 2}\nno\n')
    done = run_gems(tmp_path, "bulk", "prompts.jsonl", "--out", "out", "--dry-run")
    assert done.returncode == 1
    assert done.stdout.splitlines()[:2] == ["tasks         4", "images        at most 17"]
    assert done.stderr.startswith("prompts.jsonl: line 3: expected JSON: ")
    assert not (tmp_path / "out").exists()
    sharded = run_gems(tmp_path, "bulk", "prompts.jsonl", "--out", "out", "--dry-run", "--shard", "2/4", "--json")
    assert json.loads(sharded.stdout.splitlines()[-1])["tasks"] == 1


def test_a_dry_run_counts_what_is_left_and_estimates_from_an_earlier_run(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text(f"{HARD}\na red dog\nthree pigs\n")
    command = ("bulk", "prompts.txt", "--out", "out", "--rounds", "2")
    first = run_gems(tmp_path, *command, "--dry-run")
    assert first.stdout.splitlines()[-1] == "estimate      none: no earlier run of these models; --like DIR names one"
    drawn = summary_in(run_gems(tmp_path, *command, "--limit", "2", "--json").stdout)
    left = json.loads(run_gems(tmp_path, *command, "--dry-run", "--json").stdout)
    assert (left["tasks"], left["done"], left["max_images"]) == (1, 2, 2)
    estimate = left["estimate"]
    calls = sum(cost["calls"] for role, cost in drawn["spent"].items() if role != "generator")
    assert (estimate["like"], estimate["pictures"], estimate["images"]) == ("out", 2, round(drawn["images"] / 2))
    assert estimate["calls"] == pytest.approx(calls / 2, abs=1)
    assert estimate["seconds"] == pytest.approx(drawn["seconds"] / 2, rel=0.2)
    elsewhere = run_gems(tmp_path, "bulk", "-", "--out", "new", "--dry-run", "--like", "out", stdin=b"a cat\n" * 10)
    assert "estimate      from 2 pictures in out" in elsewhere.stdout.splitlines()
    assert not (tmp_path / "new").exists()
    other = ("--set", "image={backend='openai', url='http://127.0.0.1:9/v1', model='z'}")
    strange = run_gems(tmp_path, "bulk", "prompts.txt", "--out", "new", "--dry-run", "--like", "out", *other)
    assert (strange.returncode, strange.stderr.count("\n")) == (2, 1)
    expected = "a run whose pictures are all by image z, chat storyboard"
    assert strange.stderr == f"gems: --like: out: expected {expected}, got none\n"
    nowhere = run_gems(tmp_path, "bulk", "prompts.txt", "--out", "new", "--dry-run", "--like", "nowhere")
    assert nowhere.stderr == "gems: --like: nowhere: expected the output of `gems bulk`, got none\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("prompts.csv", b"text\na dog\n", "prompts.csv: expected a column named prompt, got text"),
        ("prompts.parquet", b"nonsense", "prompts.parquet: expected a Parquet file, got: "),
        ("prompts.txt", b"\n \n", "prompts.txt: expected at least one record, got none"),
        ("prompts.csv", b"prompt,tag\n", "prompts.csv: expected at least one record, got none"),
        ("prompts.txt", "a dog\n".encode("utf-16"), "prompts.txt: expected UTF-8, got UTF-16; save it as UTF-8"),
        ("prompts.csv", b"prompt;tag\na;b\n", "expected commas between columns, got semicolons; save it with commas"),
        ("prompts.doc", b"a dog", "expected a name that ends in .txt, .jsonl, .csv or .parquet, got '.doc'"),
    ],
)
def test_an_unusable_file_is_reported_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    done = run_gems(tmp_path, "bulk", name, "--out", "out")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr


@pytest.mark.parametrize(
    "command", [("status",), ("report",), ("export", "--as", "webdataset"), ("prune",), ("retry",)]
)
def test_a_file_where_a_run_s_folder_is_expected_is_named(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "prompts.txt").write_text("a dog\n")
    done = run_gems(tmp_path, "bulk", *command, "prompts.txt")
    assert (done.returncode, done.stderr) == (2, "gems: DIR: prompts.txt: expected a folder, got a file\n")


def test_standard_input_in_utf16_is_refused_by_its_first_line(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "bulk", "-", "--out", "out", stdin="a dog\na cat\n".encode("utf-16"))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "gems: FILE: -: expected UTF-8, got UTF-16; save it as UTF-8"


def test_another_column_can_be_the_prompt_and_the_folder_remembers_it(tmp_path: Path) -> None:
    (tmp_path / "prompts.csv").write_text('caption,prompt\na red dog,7\n"open,8\n')
    command = ("bulk", "prompts.csv", "--out", "out", "--rounds", "1", "--prompt-column", "caption")
    done = run_gems(tmp_path, *command, "--json")
    assert (done.returncode, summary_in(done.stdout)["pictures"]) == (1, 1)
    (row,) = rows(tmp_path / "out/dataset/metadata.jsonl")
    assert (row["prompt"], row["metadata"]) == ("a red dog", '{"prompt":"7"}')
    (failed,) = rows(tmp_path / "out/failed.jsonl")
    assert (failed["line"], failed["reason"]) == (
        '"open,8', "line 3: expected quotes in pairs, got one that is not closed",
    )  # fmt: skip
    again = run_gems(tmp_path, "bulk", "retry", "out", "--json")
    assert (again.returncode, summary_in(again.stdout)["pictures"]) == (1, 1)
    lines = run_gems(tmp_path, "bulk", "prompts.txt", "--out", "new", "--prompt-column", "caption")
    assert (lines.returncode, lines.stderr.count("\n")) == (2, 1)


def test_a_folder_with_the_output_of_another_file_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_text("a red dog\n")
    assert run_gems(tmp_path, "bulk", "one.txt", "--out", "out", "--rounds", "1").returncode == 0
    other = run_gems(tmp_path, "bulk", "two.txt", "--out", "out")
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert f"the output of {tmp_path}/two.txt, got that of {tmp_path}/one.txt" in other.stderr
