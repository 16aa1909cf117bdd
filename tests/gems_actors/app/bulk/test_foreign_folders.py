"""A bulk's folder that a stranger made: it names no file outside of itself, and its texts stay texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gems_actors.app.bulk.folder import open_bulk_folder
from gems_actors.app.bulk.rows import all_rows_of
from gems_actors.app.bulk.tasks import BadTask, Task
from tests.gems_actors.app.bulk.test_folder import RUN, keep
from tests.gems_actors.app.bulk.test_report import Page
from tests.gems_actors.cli.commands import run_gems
from tests.gems_actors.test_terminal_text import UNSAFE

HOSTILE = (
    "\"'><script>alert(1)</script><img src=x onerror=alert(2)><a href=javascript:alert(3)>\x1b[2J\x9b5m\u202e&amp;"
)


def _rewrite(path: Path, **changes: object) -> None:
    rows = [{**json.loads(line), **changes} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@pytest.mark.parametrize("name", ["../../victim.png", "/etc/victim.png", "images/../../../victim.png", "..", "a/.."])
def test_a_row_cannot_name_a_file_outside_of_the_dataset(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    with open_bulk_folder(out, RUN, lambda row: None) as folder:
        keep(folder, Task(0, "a cat"))
    picture = next(out.glob("dataset/images/**/*.png")).read_bytes()
    (tmp_path / "victim.png").write_bytes(picture)
    _rewrite(out / "dataset/metadata.jsonl", file_name=name)
    assert [*all_rows_of(out)] == []
    exported = run_gems(tmp_path, "bulk", "export", "out", "--as", "webdataset")
    assert "Traceback" not in exported.stderr
    assert not [*out.glob("webdataset/*.tar")]
    assert (tmp_path / "victim.png").read_bytes() == picture


def test_texts_of_a_foreign_folder_command_neither_browser_nor_terminal(tmp_path: Path) -> None:
    with open_bulk_folder(tmp_path, RUN, lambda row: None) as folder:
        keep(folder, Task(0, "a cat"))
        folder.keep_failure(BadTask(1, "line 2", HOSTILE, HOSTILE), 0, "input", HOSTILE)
    path = tmp_path / "dataset/metadata.jsonl"
    row = json.loads(path.read_text())
    requirements = [{**item, "question": HOSTILE, "kind": HOSTILE} for item in row["requirements"]]
    script = "javascript:alert(4)"
    (tmp_path / "dataset" / row["file_name"]).rename(tmp_path / "dataset" / script)
    texts = dict.fromkeys(("prompt", "final_prompt", "skill", "outcome", "decided_by", "failure"), HOSTILE)
    _rewrite(path, **texts, file_name=script, requirements=requirements, models={HOSTILE: HOSTILE})
    _rewrite(tmp_path / "failed.jsonl", **{"class": HOSTILE, "reason": HOSTILE})
    _rewrite(tmp_path / ".mesh/spent.jsonl", spent={HOSTILE: {"seconds": 1.0, "calls": 1}})
    assert run_gems(tmp_path, "bulk", "report", ".").returncode == 0
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert HOSTILE.partition("\x1b")[0] in "".join(page.words)
    assert "./dataset/javascript%3Aalert%284%29" in [attributes.get("href") for _, attributes in page.tags]
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "form", "base", "link"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert (attributes.get("src") or "data:").startswith("data:"), tag
        assert (attributes.get("href") or "#").startswith(("#", "./")), tag
    assert not UNSAFE & {*text} - {"\n"}
    for words in (("status", "."), ("status", ".", "--json")):
        shown = run_gems(tmp_path, "bulk", *words)
        assert shown.returncode == 0, shown.stderr
        assert not UNSAFE & {*shown.stdout, *shown.stderr} - {"\n"}


def test_a_description_or_row_that_is_nested_too_deep_is_refused_or_left_out(tmp_path: Path) -> None:
    deep = '{"a":' * 5_000 + "1" + "}" * 5_000
    (tmp_path / "run.json").write_text(deep)
    shown = run_gems(tmp_path, "bulk", "status", ".")
    assert (shown.returncode, shown.stderr.count("\n")) == (2, 1)
    assert "run.json: expected the specification of a run, got: " in shown.stderr
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset/metadata.jsonl").write_text(f"{deep}\n")
    assert [*all_rows_of(tmp_path)] == []
