"""Drawing at a server that refuses some prompts, in the first round or later: what is kept, told and continued."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gems_actors.app import bulk, draw
from gems_actors.app.bulk import BulkOptions, spec_of
from gems_actors.app.bulk.rows import rows_of
from gems_actors.app.draw import DrawRequest
from gems_actors.app.options import DrawOptions
from gems_actors.app.picture_files import summary_lines
from tests.gems_actors.app.meshes import open_drawing_mesh
from tests.gems_actors.backends.servers import Answer, ScriptedServer, drawn, open_server

pytestmark = pytest.mark.slow

STATUSES = (400, 403, 422, 451)
HARD = "seven croissants, and five black elephants to the left of a sign that says"


def refusing(fields: dict[str, Any]) -> Answer:
    """Refuse the refined prompts of signs with the status on the sign, and every prompt with a dragon."""
    prompt = fields["prompt"]
    status = next((status for status in STATUSES if str(status) in prompt), 400)
    if ("Make sure" in prompt and "sign" in prompt) or "dragon" in prompt:
        return Answer(b'{"error": {"message": "flagged: safety"}}', status)
    return drawn(fields)


def image_settings(server: ScriptedServer) -> tuple[str, ...]:
    return ("image.backend=openai", f"image.url={server.url}", "image.model=scripted")


def options_for(options: DrawOptions, file: Path, out: Path) -> BulkOptions:
    longer = replace(options, rounds=3, size=(256, 256))
    return BulkOptions(spec=spec_of(file, longer), file=file, out=out, router=options.router)


async def test_a_prompt_that_is_refused_in_a_later_round_has_a_picture_and_only_one_refused_at_first_fails(
    tmp_path: Path,
) -> None:
    file, out = tmp_path / "prompts.txt", tmp_path / "out"
    hard = [f"{HARD} {status}" for status in STATUSES]
    file.write_text("\n".join([*hard, "a dragon", "a red dog"]) + "\n")
    with open_server(ScriptedServer(refusing)) as server:
        async with open_drawing_mesh(tmp_path, settings=image_settings(server)) as options:
            result = await bulk.run(options_for(options, file, out))
            request = DrawRequest(prompt=hard[0], output=tmp_path, options=replace(options, rounds=3, size=(256, 256)))
            single = await draw.run(request)
    assert (result.outcome, result.tally.pictures, result.tally.failed) == ("failed", 5, 1)
    assert result.tally.ended_early == "4 refused"
    assert (out / "failed.jsonl").read_text().count("a dragon") == 1
    for row, status in zip(rows_of(out), STATUSES, strict=False):
        assert (row.outcome, row.rounds, row.all_met) == ("refused", 1, False)
        assert f"answered {status}: flagged: safety" in row.failure
        assert (out / "dataset" / row.file_name).is_file()
    assert result.report is not None
    assert "flagged: safety" in result.report.read_text()
    assert single.path.is_file()
    lines = list(summary_lines(single.picture, seed=7, seconds=1.0))
    assert any(line.startswith("stopped after round 1 of 3: refused: image server") for line in lines)
