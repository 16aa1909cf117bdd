"""What the READMEs show is true: links lead somewhere, settings load, code parses, commands exist and run."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from PIL import Image

from gems_actors.cli.commands import gems
from gems_actors.config import load_config
from tests.gems_actors.cli.commands import COMMAND, environment, run_gems
from tests.processes import started

ROOT = Path(__file__).parent.parent
ROOMS = (
    "gems_actors", "gems_actors/cli", "gems_actors/gateway", "gems_actors/backends", "actors", "protocol", "skills",
    "deploy", "tests",
)  # fmt: skip
GUIDES = [
    ROOT / "README.md", *(ROOT / room / "README.md" for room in ROOMS), ROOT / "gems_actors/gateway/CLIENTS.md",
]  # fmt: skip

PROMPTS = '{"prompt": "two red cats to the left of a stone dog"}\n{"prompt": "one blue bird"}\n'


def name_of(guide: Path) -> str:
    return str(guide.relative_to(ROOT))


def blocks(guide: Path, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", guide.read_text(), re.MULTILINE | re.DOTALL)


def all_blocks(language: str) -> list[object]:
    found = [(guide, block) for guide in GUIDES for block in blocks(guide, language)]
    return [pytest.param(guide, block, id=f"{name_of(guide)}-{number}") for number, (guide, block) in enumerate(found)]


def anchors(guide: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    text = re.sub(r"^```.*?^```$", "", guide.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def gems_lines(guide: Path) -> list[str]:
    """Return the `gems` commands in a guide's shell blocks, without prompts of a shell and comments."""
    lines = [line for block in blocks(guide, "sh") for line in block.replace("\\\n", "").splitlines()]
    bare = [re.sub(r"^\s*(\w+\$ )?", "", line) for line in lines]
    return [line for line in bare if line.startswith("gems ") and "…" not in line]


@pytest.mark.parametrize("guide", GUIDES, ids=name_of)
def test_links_lead_somewhere(guide: Path) -> None:
    text = guide.read_text()
    for target in [*re.findall(r"\]\(([^)]+)\)", text), *re.findall(r'<img src="([^"]+)"', text)]:
        path, _, anchor = target.partition("#")
        if target.startswith("https:"):
            continue
        page = guide.parent / path if path else guide
        assert page.exists(), target
        if anchor:
            assert anchor in anchors(page), target


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 180


@pytest.mark.parametrize(("guide", "block"), all_blocks("toml"))
def test_settings_that_a_guide_shows_are_settings(guide: Path, block: str, tmp_path: Path) -> None:
    mesh = tmp_path / "mesh.toml"
    mesh.write_text(re.sub(r"^ {2}", "", block, flags=re.MULTILINE) if block.startswith("  ") else block)
    load_config(mesh, environment={})


@pytest.mark.parametrize(("guide", "block"), all_blocks("python"))
def test_programs_that_a_guide_shows_import_nothing_below_the_public_api(guide: Path, block: str) -> None:
    imported = {node.module for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom) and node.module}
    ours = {
        module for module in imported if module.partition(".")[0] in {"gems_actors", "actors", "protocol", "skills"}
    }
    assert ours <= {"gems_actors"}


@pytest.mark.parametrize(("guide", "block"), all_blocks("yaml"))
def test_recipes_that_a_guide_shows_can_be_read(guide: Path, block: str) -> None:
    assert yaml.safe_load(block)


@pytest.mark.parametrize("guide", GUIDES, ids=name_of)
@pytest.mark.slow
def test_commands_that_a_guide_shows_are_taken(guide: Path) -> None:
    for line in gems_lines(guide):
        words = shlex.split(re.sub(r"\$\([^)]*\)|ADDRESS", "tcp://head:27960", line), comments=True)
        command: click.Command = gems
        context = click.Context(command, info_name="gems")
        rest = words[1:]
        while isinstance(command, click.Group):
            _, found, rest = command.resolve_command(context, rest)
            assert found is not None, line
            command = found
        parser = command.make_parser(click.Context(command, info_name=command.name, parent=context))
        parser.parse_args(args=list(rest))  # an unknown option, or one without its value, raises UsageError


@pytest.mark.parametrize("guide", GUIDES, ids=name_of)
def test_commands_that_a_text_names_exist(guide: Path) -> None:
    for named in re.findall(r"`gems ([a-z|]+)", guide.read_text()):
        for word in named.split("|"):
            assert word in gems.list_commands(click.Context(gems)), named


RUNNABLE = re.compile(
    r"gems (draw|bulk prompts\.jsonl --out DIR( |$)|keys new keys( |$)|config|doctor$|runs$|skills list)"
)


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES, ids=name_of)
def test_commands_that_need_only_this_host_run(guide: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text(PROMPTS)
    for name in ("dog.jpg", "sofa.png"):
        Image.new("RGB", (64, 48), "tan").save(tmp_path / name)
    for line in gems_lines(guide):
        words = shlex.split(line, comments=True)
        if RUNNABLE.match(shlex.join(words)) and "--router" not in words:
            done = run_gems(tmp_path, *words[1:])
            assert done.returncode == 0, f"{line}: {done.stderr}"


@pytest.mark.slow
def test_the_program_on_the_first_page_draws(tmp_path: Path) -> None:
    (program,) = (block for block in blocks(ROOT / "README.md", "python") if "gems_actors.draw(" in block)
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**environment(tmp_path), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.split()[0] in ("True", "False")
    assert (tmp_path / "cats.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_program_that_asks_a_running_mesh_draws(tmp_path: Path) -> None:
    """The mesh that the guide names is started in a folder of the test, and the program asks that one."""
    (program,) = (block for block in blocks(ROOT / "gems_actors/README.md", "python") if "trio.run(main)" in block)
    (tmp_path / "program.py").write_text(program.replace("/tmp/mesh", str(tmp_path / "mesh")))
    up = [*COMMAND, "up", "--set", f"router.runtime_dir={tmp_path}/mesh"]
    with started(up, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(tmp_path)) as mesh:
        assert mesh.stdout is not None
        assert mesh.stdout.readline().startswith("mesh ready")
        done = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sha256:")


def test_the_makefile_has_every_target_that_a_guide_shows() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for guide in GUIDES:
        shown = re.findall(r"^make (\w+)", "\n".join(blocks(guide, "sh")), re.MULTILINE)
        assert set(shown) <= targets, name_of(guide)
