"""A run on one page."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

from gems_actors.cli.bulk_folder import open_bulk_folder
from gems_actors.cli.bulk_input import BadTask, Task
from tests.gems_actors.cli.commands import run_gems
from tests.gems_actors.cli.test_bulk_folder import RUN, keep


class Page(HTMLParser):
    """What stands on a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_a_run_is_told_on_a_page_that_needs_nothing_beside_itself(tmp_path: Path) -> None:
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        for index in range(3):
            keep(folder, Task(index, f"<script>alert({index})</script> & a cat"))
        folder.keep_failure(BadTask(3, "{", "expected JSON"), 0, "input", "expected JSON")
    done = run_gems(tmp_path, "bulk", "report", ".", "--pictures", "2")
    assert (done.returncode, done.stdout) == (0, "report.html\n")
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    asked = [
        value or "" for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")
    ]
    assert [value for value in asked if not value.startswith("data:")] == [], "it asks for nothing"
    assert "url(" not in text
    assert "script" not in [tag for tag, _ in page.tags], "a prompt is words"
    assert "<script>alert(1)</script> & a cat" in page.words
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 2
    with Image.open(io.BytesIO(base64.b64decode((pictures[0] or "").partition(",")[2]))) as picture:
        assert picture.size == (8, 8)
    words = "".join(page.words)
    for told in ("1 (1 input)", "Pictures: the first 2 of 3", "after round 2", "66.7 %", "storyboard", "✓", "✗"):
        assert told in words, told


def test_a_folder_that_is_none_of_a_bulk_has_no_report(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "bulk", "report", ".")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "expected the output of `gems bulk`, came none" in done.stderr
