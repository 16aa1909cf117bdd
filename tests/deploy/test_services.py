"""The systemd units and the container file, checked without starting either."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gems_actors.cli.commands import gems
from gems_actors.cli.exit_codes import BAD_CONFIG, USAGE
from gems_actors.config import MeshConfig

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
PROGRAM = "/opt/gems/bin/gems"


def service_of(unit: Path) -> dict[str, str]:
    """Return the [Service] section of a unit, with the last value of each key."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # keeps the case of keys
    parser.read(unit)
    return dict(parser["Service"])


def verify(unit: str, folder: Path) -> str:
    """Return what `systemd-analyze verify` reports for a unit, with a program that exists here."""
    (folder / "gems.service").write_text(unit.replace(PROGRAM, sys.executable))
    verified = subprocess.run(
        ["systemd-analyze", "verify", folder / "gems.service"], capture_output=True, text=True, timeout=120, check=False
    )
    report = verified.stderr.strip()
    assert (verified.returncode == 0) or report
    return report


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_accepts_a_unit_and_reports_a_mistake_in_it(unit: Path, tmp_path: Path) -> None:
    assert verify(unit.read_text(), tmp_path) == ""
    assert "WatchDogSec" in verify(unit.read_text().replace("WatchdogSec", "WatchDogSec"), tmp_path)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_runs_an_existing_command(unit: Path) -> None:
    program, *arguments = service_of(unit)["ExecStart"].replace("$GEMS_ROLES", "verifier=8 generator=1").split()
    assert program == PROGRAM
    name, command, rest = gems.resolve_command(gems.make_context("gems", [*arguments]), arguments)
    assert command is not None
    context = command.make_context(name, rest, default_map={"router": "tcp://head:27960"})
    assert "/etc/gems-actors/mesh.toml" in map(str, context.params.values())


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_waits_for_a_graceful_shutdown_and_is_not_restarted_after_a_final_exit(unit: Path) -> None:
    service = service_of(unit)
    assert (service["Type"], service["KillMode"]) == ("notify", "mixed")
    assert float(service["TimeoutStopSec"]) >= MeshConfig().supervisor.grace_s + 10
    assert {str(BAD_CONFIG), str(USAGE)} <= {*service["RestartPreventExitStatus"].split()}


def test_the_container_has_an_init_process_and_no_root_user() -> None:
    lines = re.sub(r"\\\n\s*", "", (DEPLOY / "Containerfile").read_text()).splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    last = {step[0]: step[1] for step in steps}
    assert last["USER"] == "10001:10001"
    assert last["ENTRYPOINT"] == '["tini", "--", "gems"]'
    copied = [name for word, rest in steps if word == "COPY" and "--from" not in rest for name in rest.split()[:-1]]
    assert all((DEPLOY.parent / name).exists() for name in copied)
    packages = re.search(r"^packages = \[(.*)\]$", (DEPLOY.parent / "pyproject.toml").read_text(), re.MULTILINE)
    assert packages is not None
    assert {name.strip('" ') for name in packages[1].split(",")} <= {*copied}
