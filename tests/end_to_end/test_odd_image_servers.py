"""Commands whose pictures come from servers that are odd, damaged, or judged by a model that sees nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image

from actors.decomposer import RULES as DECOMPOSE_RULES
from actors.planner import ROUTE_RULES
from actors.planner import WRITE_RULES as PLAN_RULES
from gems_actors.app.picture_files import BLIND_VERIFIER
from gems_actors.os_process import EXIT_CONFIG
from tests.gems_actors.backends.picture_bytes import flat, noise, pixel_of, raw_png
from tests.gems_actors.backends.servers import Answer, ScriptedServer, drawn, open_server
from tests.gems_actors.cli.commands import run_gems

pytestmark = pytest.mark.slow

RED: Final = (200, 30, 30)
CMYK: Final = flat("CMYK", (0, 200, 200, 20), "JPEG")
FILES: Final[dict[str, bytes]] = {
    "plain": flat("RGB", RED),
    "cut": noise("PNG", size=(128, 128))[:-400],
    "damaged": noise("PNG").replace(b"IDAT", b"IDaT"),
    "cmyk": CMYK,
    "sixteen": raw_png(16, 0, 32_768),
    "rgba": flat("RGBA", (*RED, 0)),
}
SHOWN: Final = {
    "plain": (*RED, 255),
    "cmyk": (235, 51, 51, 255),
    "sixteen": (128,) * 3 + (255,),
    "rgba": (255,) * 3 + (0,),
}


def draw_by_first_word(fields: dict[str, Any]) -> Answer:
    """Answer with the file that the first word of the prompt names."""
    word = fields["prompt"].split()[0]
    field, form = ("url", "data:image/png;base64,{}") if word == "cmyk" else ("b64_json", "{}")
    return Answer(json.dumps({"data": [{field: form.format(base64.b64encode(FILES[word]).decode())}]}).encode())


def say_yes(fields: dict[str, Any]) -> Answer:
    """Answer as a gateway in test mode: in the right form, and the same whatever is asked about whatever picture."""
    first, *_, last = fields["messages"]
    text = last["content"] if isinstance(last["content"], str) else ""
    word = next((word for word in FILES if f"{word} apple" in text), "plain")
    answers = {
        ROUTE_RULES: '{"skill": null}',
        DECOMPOSE_RULES: '{"requirements": [{"id": "r1", "question": "Is it?", "kind": "object", "depends_on": null}]}',
        PLAN_RULES: json.dumps({"prompt": f"{word} apple"}),
    }
    return Answer(json.dumps({"choices": [{"message": {"content": answers.get(first["content"], "yes")}}]}).encode())


@pytest.fixture
def settings() -> Iterator[list[str]]:
    """Yield the flags for the two servers."""
    with ExitStack() as stack:
        images = stack.enter_context(open_server(ScriptedServer(draw_by_first_word)))
        chat = stack.enter_context(open_server(ScriptedServer(say_yes)))
        flags = ["image.backend=openai", f"image.url={images.url}", "chat.backend=openai", f"chat.url={chat.url}"]
        yield [word for flag in (*flags, "verify.mode=words") for word in ("--set", flag)]


def test_a_dataset_has_the_usable_pictures_alone_and_says_that_its_judge_is_blind(
    tmp_path: Path, settings: list[str]
) -> None:
    (tmp_path / "prompts.txt").write_text("".join(f"{word} apple\n" for word in FILES))
    done = run_gems(tmp_path, "bulk", "prompts.txt", "--out", "out", "--strategy", "gems", *settings)
    assert done.returncode == 1, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "dataset" / "metadata.jsonl").read_text().splitlines()]
    assert [row["prompt"].split()[0] for row in rows] == [*SHOWN]
    for row, colour in zip(rows, SHOWN.values(), strict=True):
        found = pixel_of((tmp_path / "out" / "dataset" / row["file_name"]).read_bytes(), "RGBA")
        assert all(abs(one - other) <= 4 for one, other in zip(found, colour, strict=True)), row["prompt"]
        assert row["judged_blind"]
    failed = [json.loads(line) for line in (tmp_path / "out" / "failed.jsonl").read_text().splitlines()]
    assert {row["prompt"].split()[0] for row in failed} == {"cut", "damaged"}
    assert all("expected a complete PNG, JPEG or WebP picture, got" in row["reason"] for row in failed)
    assert f"judged blind       4 of 4; {BLIND_VERIFIER}" in done.stderr
    assert BLIND_VERIFIER in (tmp_path / "out" / "report.html").read_text()
    assert "blind verifier" in run_gems(tmp_path, "bulk", "status", "out").stdout


def test_a_draw_says_that_its_judge_is_blind(tmp_path: Path, settings: list[str]) -> None:
    done = run_gems(tmp_path, "draw", "rgba apple", "-o", "apple.png", "--rounds", "1", *settings)
    assert done.returncode == 0, done.stderr
    assert BLIND_VERIFIER in done.stdout
    assert "stand-in" not in done.stderr
    with Image.open(BytesIO((tmp_path / "apple.png").read_bytes())) as image:
        assert image.mode == "RGBA"


def test_a_judge_that_reads_storyboards_only_is_named_at_the_start_of_a_draw_and_a_bulk(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a red apple\n")
    with open_server(ScriptedServer(drawn)) as server:
        flags = ("--set", "image.backend=openai", "--set", f"image.url={server.url}", "--rounds", "1")
        draw = run_gems(tmp_path, "draw", "a red apple", "-o", "apple.png", *flags)
        bulk = run_gems(tmp_path, "bulk", "one.txt", "--out", "out", *flags)
    for done in (draw, bulk):
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith("gems: image.backend is openai, but the verifier's chat.backend is storyboard")


def test_a_proxy_that_cannot_be_used_is_one_line_before_anything_starts(tmp_path: Path) -> None:
    flags = ("--set", "image.backend=openai", "--set", "image.url=http://gpu-box.example/v1")
    for arguments in (("draw", "a cat", "-o", "cat.png"), ("up",)):
        done = run_gems(tmp_path, *arguments, *flags, more={"ALL_PROXY": "nonsense://me:word@p"})
        assert done.returncode == EXIT_CONFIG, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if "storyboards only" not in line]
        assert "ALL_PROXY: expected the address of a proxy such as http://HOST:3128, got 'nonsense://***@p'" in line


def test_a_draw_works_where_the_folder_for_temporary_files_has_a_long_path(tmp_path: Path) -> None:
    scratch = tmp_path / ("scratch-" + "x" * 120)
    scratch.mkdir()
    long = {"TMPDIR": str(scratch), "XDG_RUNTIME_DIR": str(scratch)}
    done = run_gems(tmp_path, "draw", "a red cat", "-o", "cat.png", "--rounds", "1", more=long, is_fresh=True)
    assert done.returncode == 0, done.stderr
    assert list(scratch.iterdir()) == []
