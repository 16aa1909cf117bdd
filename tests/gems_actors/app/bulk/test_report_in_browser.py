"""The report of a run in a browser: readable on every screen, and safe whatever its texts say."""

from __future__ import annotations

from pathlib import Path

import pytest

from gems_actors.app.bulk.folder import open_bulk_folder
from gems_actors.app.bulk.folder_files import inspect_folder
from gems_actors.app.bulk.report.page import ReportPage, Survey, read_failures
from gems_actors.app.bulk.tasks import BadTask, Task
from gems_actors.blobs import BlobFolder
from protocol.messages import Experience, Plan, Refinement, TrajectoryState
from tests.browser import PHONE, WIDE, WatchedPage, needs_chromium, open_browser
from tests.gems_actors.app.bulk.test_folder import RUN, keep, png
from tests.gems_actors.app.bulk.test_foreign_folders import HOSTILE
from tests.gems_actors.cli.stories import ATTEMPTS, ENDING, FIRST_PROMPT, IMAGE, PROMPT, REQUIREMENTS, SECOND_PROMPT

pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """Write a report with a failure, with rounds, with a picture alone, and with texts that are hostile."""
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        keep(folder, Task(0, PROMPT))
        keep(folder, Task(1, f"{HOSTILE} {'long' * 100}"))
        folder.keep_failure(BadTask(2, "line 3", HOSTILE, "expected JSON"), 0, "input", HOSTILE)
    state = TrajectoryState(
        plan=Plan(prompt=FIRST_PROMPT),
        requirements=REQUIREMENTS,
        attempts=ATTEMPTS,
        experiences=(Experience(round=1, text=f"count <them> {HOSTILE}"),),
        refinements=(Refinement(round=2, prompt=SECOND_PROMPT),),
        ending=ENDING,
    )
    blobs = BlobFolder(tmp_path / "blobs")
    path = blobs.path_of(IMAGE.digest)
    path.parent.mkdir(parents=True)
    path.write_bytes(png())
    survey = Survey(100)
    page = ReportPage(
        spec=RUN,
        state=inspect_folder(tmp_path, survey.add),
        folder=tmp_path,
        blobs=blobs,
        survey=survey,
        stories={(0, 0): state},
        failures=read_failures(tmp_path, 100),
    )
    (tmp_path / "report.html").write_text("".join(page.pieces()))
    return tmp_path / "report.html"


def test_a_report_is_accessible_and_fits_a_phone_in_light_and_dark(report: Path) -> None:
    with open_browser() as browser:
        for size in (WIDE, PHONE):
            for scheme in ("light", "dark"):
                watched = WatchedPage(browser, size=size, scheme=scheme)
                watched.page.goto(report.as_uri())
                assert not watched.is_too_wide(), size
                assert watched.violations() == [], (size, scheme)
                assert watched.complaints == [], "texts in the page break neither its policy nor its markup"
                asked = [url for url in watched.requested if not url.startswith("data:")]
                assert asked == [report.as_uri()], "nothing is loaded"
                watched.context.close()


def test_a_picture_of_a_report_links_to_its_file(report: Path) -> None:
    with open_browser() as browser:
        watched = WatchedPage(browser)
        watched.page.goto(report.as_uri())
        watched.page.get_by_role("link", name="Round 2, chosen").click()
        assert watched.page.evaluate("[document.images[0].naturalWidth, document.images[0].naturalHeight]") == [8, 8]
        assert watched.complaints == []
