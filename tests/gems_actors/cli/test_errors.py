"""Every failure is one line on standard error and a fitting exit code, whatever a user does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from gems_actors.cli import main
from gems_actors.cli.exit_codes import end_of
from gems_actors.errors import ConfigError
from tests.gems_actors.cli.commands import COMMAND, environment, run_gems

USAGE, BAD_CONFIG = 2, 78


_CASES: list[tuple[list[str | bytes], int, str]] = [
    (["fly"], USAGE, "COMMAND: expected one of draw, bulk,"),
    (["sclae"], USAGE, "got 'sclae'; did you mean scale?"),
    (["drw", "a cat"], USAGE, "got 'drw'; did you mean draw?"),
    (["bluk", "x.txt"], USAGE, "got 'bluk'; did you mean bulk?"),
    (["generate", "a cat"], USAGE, "got 'generate'; did you mean draw?"),
    (["memory", "shwo"], USAGE, "COMMAND: expected one of archive, check,"),
    (["memory", "shwo"], USAGE, "got 'shwo'; did you mean show?"),
    (["skills", "lst"], USAGE, "COMMAND: expected one of check, learn, list,"),
    (["skills", "lst"], USAGE, "got 'lst'; did you mean list?"),
    (["slurm", "stauts"], USAGE, "got 'stauts'; did you mean status?"),
    (["keys", "nwe"], USAGE, "got 'nwe'; did you mean new?"),
    (["bulk", "rtry", "out"], USAGE, "got 'rtry'; did you mean retry?"),
    (["bulk", "stats", "out"], USAGE, "got 'stats'; did you mean status?"),
    (["eval", "comprae", "out"], USAGE, "got 'comprae'; did you mean compare?"),
    (["eval", "genevel", "--data", "x", "--out", "y"], USAGE, "got 'genevel'; did you mean geneval?"),
    (["draw", "x", "--round", "1"], USAGE, "No such option"),
    (["draw", "x", "--sead", "1"], USAGE, "--seed"),
    (["bulk", "good.txt", "--out", "out", "--sise", "64x64"], USAGE, "--size"),
    (["bulk", "good.txt", "--out", "out", "--strategy", "singel"], USAGE, "got 'singel'; did you mean single?"),
    (["bulk", "good.txt", "--out", "out", "--size", "7"], USAGE, "--size: expected WIDTHxHEIGHT such as 768x512"),
    (["bulk", "good.txt", "--out", "out", "--guidance", "x"], USAGE, "--guidance: expected a number from 0 to 100"),
    (["--nonsense"], USAGE, "No such option"),
    (["draw"], USAGE, "Missing argument 'PROMPT'"),
    (["draw", "two", "red", "cats"], USAGE, "PROMPT: expected it in quotes, as one argument, got 3 arguments"),
    (["draw", ""], USAGE, "PROMPT: expected a prompt of 1 to 32,000 characters, got an empty one"),
    (["draw", "  "], USAGE, "PROMPT: expected a prompt of 1 to 32,000 characters, got an empty one"),
    (["draw", "x" * 32_001], USAGE, "PROMPT: expected a prompt of 1 to 32,000 characters, got 32,001"),
    (["draw", b"a dog \xff"], USAGE, "PROMPT: expected UTF-8, got byte 0xff at character 7"),
    (["draw", "x", "--rounds", "0"], USAGE, "--rounds: expected 1 to 64, got '0'"),
    (["draw", "x", "--rounds", "many"], USAGE, "--rounds: expected 1 to 64, got 'many'"),
    (["draw", "x", "--candidates", "65"], USAGE, "--candidates: expected 1 to 64, got '65'"),
    (["draw", "x", "--seed", "-1"], USAGE, "--seed: expected 0 to 4294967295, got '-1'"),
    (["draw", "x", "--size", "7"], USAGE, "--size: expected WIDTHxHEIGHT such as 768x512"),
    (["draw", "x", "--steps", "0"], USAGE, "--steps: expected 1 to 1000, got '0'"),
    (["draw", "x", "--guidance", "strong"], USAGE, "--guidance: expected a number from 0 to 100, got 'strong'"),
    (["draw", "x", "--guidance", "nan"], USAGE, "--guidance: expected a number from 0 to 100, got 'nan'"),
    (["draw", "x", "--size", "9000x1"], USAGE, "--size: expected WIDTHxHEIGHT such as 768x512"),
    (["draw", "x", "--memory", "good"], USAGE, "--memory: expected one of none, prompts, images, thoughts, full"),
    (["draw", "x", "-o", "x.jpg"], USAGE, "--output: expected a name that ends in .png, got 'x.jpg'"),
    (["draw", "x", "-o", "/dev/null/x.png"], USAGE, "--output: /dev/null: expected a folder to write into, got:"),
    (["draw", "x", "--router", "localhost"], USAGE, "--router: expected an address such as tcp://HOST:PORT"),
    (["draw", "x", "--set", "rounds"], BAD_CONFIG, "--set: expected KEY=VALUE"),
    (["draw", "x", "--set", "draw.rounds=3"], BAD_CONFIG, "--set: draw.rounds: expected a known key, "),
    (["draw", "x", "--set", "draw.max_rounds=0"], BAD_CONFIG, "--set: draw.max_rounds: expected"),
    (["draw", "x", "--config", "none.toml"], BAD_CONFIG, "none.toml: expected a readable TOML file, got: No"),
    (["draw", "x", "--set", b"data_dir=\xff"], BAD_CONFIG, "--set: expected UTF-8, got"),
    (["bulk", "none.txt", "--out", "out"], USAGE, "FILE: none.txt: expected a readable file, got: No such file"),
    (["bulk", "bad.csv", "--out", "out"], USAGE, "FILE: bad.csv: expected a column named prompt, got a red dog"),
    (["bulk", "bad.doc", "--out", "out"], USAGE, "FILE: bad.doc: expected a name that ends in .txt, .jsonl, .csv or"),
    (["bulk", "good.txt", "--out", "/dev/null/out"], USAGE, "--out: /dev/null/out: expected a folder to write"),
    (["bulk", "good.txt"], USAGE, "Missing option '--out'"),
    (["bulk"], USAGE, "Missing arguments (see gems bulk --help)"),
    (["memory"], USAGE, "COMMAND: expected one of archive, check,"),
    (["skills"], USAGE, "trial, got none"),
    (["config", "explian"], USAGE, "COMMAND: expected one of explain, got 'explian'; did you mean explain?"),
    (["scale", "verifier=1", "verifier=2"], USAGE, "ROLE=N: expected each role once, got verifier twice"),
    (["agent", "generator=0", "generator=1", "--router", "ipc:///nowhere/r.ipc"], USAGE, "got generator twice"),
    (["agent", "generator=1", "--router-file", "/dev/null/x"], BAD_CONFIG, "got: Not a directory"),
    (["up", "--gateway", "here"], USAGE, "--gateway: expected HOST:PORT such as 127.0.0.1:9464, got"),
    (["up", "a.toml", "--config", "b.toml"], USAGE, "--config: expected either it or [mesh.toml], got both"),
    (["up", "--config", "none.toml"], BAD_CONFIG, "none.toml: expected a readable TOML file, got: No such file"),
    (["status", "--router", "tcp://localhost:99999"], USAGE, "--router: expected an address such as tcp://HOST:PORT"),
    (["eval", "compare", "out", "--plot", "bars.png"], USAGE, "--plot: expected a name that ends in .svg, got"),
    (["eval", "compare", "out", "--curve", "curve"], USAGE, "--curve: expected a name that ends in .csv or .svg, got"),
    (["scale", "verifier"], USAGE, "ROLE=N: expected one of conductor, planner,"),
    (["scale", "poet=2"], USAGE, "ROLE=N: expected one of conductor, planner,"),
    (["role", "poet", "--router", "ipc:///nowhere/router.ipc"], USAGE, "NAME: expected one of conductor, planner,"),
    (["skills", "show", "poetry"], USAGE, "ID: expected one of the skills aesthetic-drawing,"),
    (["memory", "runs", "--data", "good.txt"], BAD_CONFIG, "a number of shards up to 256 a line, got: Not a directory"),
    (["skills", "check", "nowhere"], USAGE, "PATH: nowhere: expected a folder, got: No such file"),
]  # fmt: skip
_CASES_WITHOUT_MESH: list[tuple[list[str | bytes], int, str]] = [
    (["status"], 1, "expected a router, but none answered"),
    (["down", "--router", "ipc:///nowhere/router.ipc"], 1, "expected a router, but none answered"),
    (["runs", "--router", "ipc:///nowhere/router.ipc"], 1, "expected a router, but none answered"),
    (["pause", "x", "--router", "ipc:///nowhere/router.ipc"], 1, "expected a router, but none answered"),
    (["draw", "x", "--router", "ipc:///nowhere/router.ipc"], 1, "expected a router, but none answered"),
]


_CASES_OF_A_PROCESS = [
    *{
        (case[0][0] if case[1] == BAD_CONFIG else "", case[1]): case for case in _CASES
    }.values(),  # one of each exit code
    *(case for case in _CASES if any(isinstance(argument, bytes) for argument in case[0])),
    *_CASES_WITHOUT_MESH,
]


@pytest.mark.parametrize(("arguments", "code", "message"), _CASES)
def test_a_failure_is_one_line(
    arguments: list[str | bytes],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    ended = main([os.fsdecode(argument) for argument in arguments])
    output = capsys.readouterr()
    _check_line(output.err, message)
    assert (ended, output.out) == (code, "")


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "code", "message"), _CASES_OF_A_PROCESS)
def test_a_failure_of_a_process_is_one_line(
    arguments: list[str | bytes], code: int, message: str, tmp_path: Path
) -> None:
    _write_files(tmp_path)
    done = run_gems(tmp_path, *arguments, is_fresh=True)
    _check_line(done.stderr, message)
    assert (done.returncode, done.stdout) == (code, "")


def _write_files(folder: Path) -> None:
    (folder / "good.txt").write_text("a red dog\n")
    (folder / "bad.csv").write_text("a red dog\n")
    (folder / "bad.doc").write_text("a red dog\n")


def _check_line(line: str, message: str) -> None:
    assert line.startswith("gems: ")
    assert message in line
    assert line.count("\n") == 1


def test_an_unwritable_folder_is_reported_before_a_mesh_is_started(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "draw", "x", "-o", "/proc/x.png")
    assert (done.returncode, done.stderr.count("\n")) == (USAGE, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_file_with_a_wrong_key_names_file_and_key(tmp_path: Path) -> None:
    (tmp_path / "mesh.toml").write_text("[router]\nport = 7\n")
    done = run_gems(tmp_path, "up", "mesh.toml")
    assert done.returncode == BAD_CONFIG
    _check_line(done.stderr, "gems: mesh.toml: router.port: expected ")


def test_a_configuration_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mesh.toml").write_bytes(b"data_dir = '\xff'\n")
    done = run_gems(tmp_path, "up", "mesh.toml")
    assert (done.returncode, done.stderr) == (BAD_CONFIG, "gems: mesh.toml: expected UTF-8 text, got byte 0xff\n")


def test_standard_input_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "draw", "-", stdin=b"a dog\xff")
    assert (done.returncode, done.stderr) == (
        USAGE,
        "gems: standard input: expected UTF-8, got byte 0xff at byte 6\n",
    )


def test_a_taken_port_is_bad_configuration(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        done = run_gems(tmp_path, "up", "--set", f"router.address={address}")
    assert (done.returncode, done.stderr) == (
        BAD_CONFIG,
        f"gems: {address}: expected a free address, got one that is taken\n",
    )


def test_a_broken_skill_is_named_with_its_line(tmp_path: Path) -> None:
    folder = tmp_path / "skills" / "broken"
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text("---\nname: broken\n")
    problem = "skills/broken/SKILL.md:1: expected front matter closed by a line '---', got none"
    checked = run_gems(tmp_path, "skills", "check", "skills")
    assert (checked.returncode, checked.stdout) == (1, f"{problem}\n")
    assert checked.stderr == "gems: 1 problem in 1 skill\n"
    shown = run_gems(tmp_path, "skills", "show", "broken", "--set", 'skills.folders=["skills"]')
    assert shown.returncode == 1
    _check_line(shown.stderr, problem)
    listed = run_gems(tmp_path, "skills", "list", "--set", 'skills.folders=["skills"]')
    assert (listed.returncode, len(listed.stdout.splitlines()), listed.stderr.count("\n")) == (1, 6, 1)


def in_shell(folder: Path, script: str) -> tuple[int, str]:
    """Run a line of bash and return its exit code and standard error; `gems` is the one under test."""
    line = f'set -o pipefail; gems() {{ {" ".join(COMMAND)} "$@"; }}; {script}'
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "script",
    [
        "gems skills show text-rendering | true",
        "gems skills list >&-",
        "gems skills list >&- 2>&- <&-",
    ],
)
@pytest.mark.slow
def test_a_closed_standard_output_is_not_a_failure(tmp_path: Path, script: str) -> None:
    assert in_shell(tmp_path, script) == (0, "")


def test_a_full_disk_at_standard_output_is_one_line(tmp_path: Path) -> None:
    line = "gems: standard output: expected space for the output, got: No space left on device\n"
    assert in_shell(tmp_path, "gems skills list > /dev/full") == (1, line)


@pytest.mark.slow
@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-", "2> >(true)", "2>&1 | true"])
def test_a_draw_without_a_usable_standard_error_writes_its_picture(tmp_path: Path, stderr: str) -> None:
    code, _ = in_shell(tmp_path, f"gems draw 'a red cat' -o cat.png --rounds 1 {stderr}")
    assert (code, (tmp_path / "cat.png").is_file()) == (0, True)


@pytest.mark.slow
def test_a_bulk_without_a_usable_standard_error_writes_its_report(tmp_path: Path) -> None:
    (tmp_path / "cats.txt").write_text("a red cat\n")
    code, _ = in_shell(tmp_path, "gems bulk cats.txt --out out --rounds 1 2>/dev/full")
    assert (code, (tmp_path / "out/report.html").is_file()) == (0, True)


def test_an_internal_error_is_one_line_with_its_origin() -> None:
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError as error:
        line, code = end_of(error)
    assert line.startswith("gems: internal error: RuntimeError: two lines (at test_errors.py:")
    assert code == 1


def test_a_text_from_a_file_cannot_command_the_terminal() -> None:
    line, _ = end_of(ConfigError("key: got \x1b[31mred\x9b0m\x7f\x08, im\ud83d\udc36"))
    assert line == "gems: key: got \ufffd[31mred\ufffd0m\ufffd\ufffd, im\\ud83d\\udc36"


def test_of_several_failures_the_one_that_concerns_the_user_is_reported() -> None:
    group = BaseExceptionGroup("several", [RuntimeError("noise"), ExceptionGroup("inner", [ConfigError("key: wrong")])])
    assert end_of(group) == ("gems: key: wrong", BAD_CONFIG)


def test_ctrl_c_during_the_start_is_an_interruption() -> None:
    assert end_of(BaseExceptionGroup("trio's", [KeyboardInterrupt()])) == ("gems: interrupted", 130)


def test_ctrl_c_during_an_import_is_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skills", None)  # half imported; importing it again fails
    assert end_of(click.Abort()) == ("gems: interrupted", 130)
