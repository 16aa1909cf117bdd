"""The report of a run."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import msgspec
import pytest
from PIL import Image

from gems_actors.app.bulk.folder import open_bulk_folder
from gems_actors.app.bulk.folder_files import FolderState
from gems_actors.app.bulk.recipe import Recipe
from gems_actors.app.bulk.report.article import Pictures, story_of_rounds
from gems_actors.app.bulk.report.page import ReportPage, Survey
from gems_actors.app.bulk.rows import rows_of
from gems_actors.app.bulk.tasks import BadTask, Task
from gems_actors.blobs import BlobFolder
from protocol.messages import AttemptPlace, DrawSettings, Experience, Plan, Refinement, TrajectoryState, Verdict
from tests.gems_actors.app.bulk.test_folder import RUN, keep
from tests.gems_actors.cli.commands import COMMAND, environment, run_gems
from tests.gems_actors.cli.stories import ATTEMPTS, ENDING, FIRST_PROMPT, PICTURE, PROMPT, REQUIREMENTS, SECOND_PROMPT
from tests.gems_actors.cli.test_draw import HARD
from tests.processes import started


class Page(HTMLParser):
    """The words and tags of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_a_report_is_one_self_contained_page(tmp_path: Path) -> None:
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        for index in range(3):
            keep(folder, Task(index, f"<script>alert({index})</script> & a cat"))
        folder.keep_failure(BadTask(3, "line 4", "{", "expected JSON"), 0, "input", "expected JSON")
    done = run_gems(tmp_path, "bulk", "report", ".", "--pictures", "2")
    assert (done.returncode, done.stdout) == (0, "report.html\n")
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    loaded = [value or "" for _, attributes in page.tags for name, value in attributes.items() if name == "src"]
    assert [value for value in loaded if not value.startswith("data:")] == [], "nothing is loaded"
    links = [value or "" for _, attributes in page.tags for name, value in attributes.items() if name == "href"]
    files = [unquote(link) for link in links if not link.startswith("#")]
    assert len(files) == 3, "the failures and two pictures"
    assert all((tmp_path / file).is_file() for file in files), files
    assert "url(" not in text
    assert "script" not in [tag for tag, _ in page.tags], "a prompt is escaped"
    assert "<script>alert(1)</script> & a cat" in page.words
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 2
    with Image.open(io.BytesIO(base64.b64decode((pictures[0] or "").partition(",")[2]))) as picture:
        assert picture.size == (8, 8)
    text = "".join(page.words)
    for part in ("Failed: 1 (1 input)", "Pictures: 2 of 3", "round 2", "66.7 %", "storyboard", "✓", "✗"):
        assert part in text, part


def test_rounds_are_side_by_side_with_changes_and_lessons(tmp_path: Path) -> None:
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        keep(folder, Task(0, PROMPT))
    state = TrajectoryState(
        plan=Plan(prompt=FIRST_PROMPT),
        requirements=REQUIREMENTS,
        attempts=ATTEMPTS,
        experiences=(Experience(round=1, text="count <them>"),),
        refinements=(Refinement(round=2, prompt=SECOND_PROMPT),),
        ending=ENDING,
    )
    survey = Survey(100)
    for row in rows_of(tmp_path):
        survey.add(row)
    text = "".join(
        ReportPage(
            spec=RUN,
            state=FolderState(running=None, failures={}, spent={}),
            folder=tmp_path,
            blobs=BlobFolder(tmp_path / "blobs"),
            survey=survey,
            stories={(0, 0): state},
            failures=[],
        ).pieces()
    )
    page = Page(text)
    assert "svg" in [tag for tag, _ in page.tags], "the score by round"
    first, second = text.partition("<ol class=rounds>")[2].split("</h4>")[1:]
    assert [word for word in page.words if word in ("Round 1 ", "Round 2 ", "Chosen")] == [
        "Round 1 ",
        "Round 2 ",
        "Chosen",
    ]
    marks = [[word for word in Page(card).words if word in "✓✗?"] for card in (first, second)]
    assert marks == [["✓", "✗", "?"], ["✓", "✓", "✗"]]
    assert "<ins>EXACTLY</ins>" in second
    assert "<ins>A picture of</ins>" in first, "the first round is compared with the user's prompt"
    assert "count <them>" in page.words


def test_an_edit_is_told_with_the_round_that_it_edits(tmp_path: Path) -> None:
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        keep(folder, Task(0, PROMPT))
    (row,) = rows_of(tmp_path)
    place = AttemptPlace(round=1, candidate=1)
    state = TrajectoryState(
        plan=Plan(prompt=FIRST_PROMPT),
        requirements=REQUIREMENTS,
        attempts=ATTEMPTS,
        refinements=(Refinement(round=2, prompt="Make it <red>.", action="edit", edited=place),),
        ending=ENDING,
    )
    text = story_of_rounds(row, state, Pictures(tmp_path, lambda digest: None, None))
    assert "<h5>Prompt, compared with yours</h5>" in text
    assert "<h5>Instruction</h5><p class=words>edit of round 1: Make it &lt;red&gt;.</p>" in text


def test_a_report_shows_pictures_with_unmet_requirements_first(tmp_path: Path) -> None:
    best = msgspec.structs.replace(PICTURE.attempts[1], verdicts=_all_met(PICTURE.attempts[1].verdicts))
    done = msgspec.structs.replace(PICTURE, attempts=(PICTURE.attempts[0], best))
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        for index, picture in enumerate((done, done, PICTURE)):
            keep(folder, Task(index, f"prompt {index}"), picture=picture)
    survey = Survey(2)
    for row in rows_of(tmp_path):
        survey.add(row)
    assert [row.prompt for row in survey.shown] == ["prompt 2", "prompt 0"]
    assert survey.tally.pictures == 3


def test_a_report_has_the_settings_and_the_time_of_its_run_and_words_for_every_picture(tmp_path: Path) -> None:
    recipe = Recipe(
        seed=0,
        settings=DrawSettings(max_rounds=3, negative_prompt="<blurred>"),
        models={"image": "storyboard"},
        skills={"spatial-layout": "0"},
        all_skills="0",
    )
    run = msgspec.structs.replace(RUN, recipes=(recipe,), overrides=("chat.api_key=secret",))
    with open_bulk_folder(tmp_path, run, lambda row: None) as folder:
        keep(folder, Task(0, "a cat"))
    os.utime(tmp_path / "dataset/metadata.jsonl", (86_400, 86_400))
    assert run_gems(tmp_path, "bulk", "report", ".").returncode == 0
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    for word in ("max rounds", "3", "negative prompt", "<blurred>", "1970-01-02 00:00 UTC"):
        assert word in page.words, word
    assert "secret" not in text
    assert [attributes["alt"] for tag, attributes in page.tags if tag == "img"] == ["Picture of “a cat”: 2 of 3 met."]


def _all_met(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    return tuple(msgspec.structs.replace(verdict, answer="met") for verdict in verdicts)


@pytest.mark.slow
def test_a_run_ends_with_a_report_from_its_memory(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text(f"{HARD}\n")
    done = run_gems(tmp_path, "bulk", "prompts.txt", "--out", "out", "--rounds", "2")
    assert (done.returncode, done.stderr.splitlines()[-1].split()) == (0, ["report", "out/report.html"])
    (row,) = (tmp_path / "out/dataset/metadata.jsonl").read_text().splitlines()
    text = (tmp_path / "out/report.html").read_text()
    assert text.count("<img") == json.loads(row)["images"] == 2
    assert "Experience kept" in text
    (tmp_path / "out").rename(tmp_path / "moved")
    assert run_gems(tmp_path, "bulk", "report", "moved").returncode == 0
    assert (tmp_path / "moved/report.html").read_text() == text, "the run is found in its log"
    shutil.rmtree(tmp_path / "moved/.mesh")
    assert run_gems(tmp_path, "bulk", "report", "moved").returncode == 0
    bare = (tmp_path / "moved/report.html").read_text()
    assert "Experience kept" not in bare
    assert bare.count("<img") == 1, "only the dataset is left"


@pytest.mark.slow
def test_a_report_reads_the_memory_of_the_mesh_that_drew_and_later_its_log(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text(f"{HARD}\n")
    settings = ("--set", f"data_dir={tmp_path}/data", "--set", f"router.runtime_dir={tmp_path}/run")
    page = tmp_path / "out/report.html"
    with started([*COMMAND, "up", *settings], stdout=subprocess.PIPE, cwd=tmp_path, env=environment(tmp_path)) as mesh:
        assert mesh.stdout is not None
        assert "mesh ready" in mesh.stdout.readline()
        address = f"ipc://{tmp_path}/run/router.ipc"
        command = ("bulk", "prompts.txt", "--out", "out", "--rounds", "2", "--router", address, *settings)
        assert run_gems(tmp_path, *command).returncode == 0
        text = page.read_text()
        assert text.count("<img") == 2
        assert "Experience kept" in text
        mesh.terminate()
        mesh.wait()
    page.unlink()
    assert run_gems(tmp_path, "bulk", "report", "out").returncode == 0
    assert page.read_text() == text


def test_a_folder_without_a_run_has_no_report(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "bulk", "report", ".")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "expected the output of `gems bulk`, got none" in done.stderr
