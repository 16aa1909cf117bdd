"""The batch files of a mesh: their contents, their syntax, and that edits are kept."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gems_actors.app.slurm.batch_files import BatchPaths, batch_files, is_edited
from gems_actors.app.slurm.jobs import JOBS_NAME, is_requeued
from gems_actors.app.slurm.mesh import stop_mesh
from gems_actors.config import load_config
from gems_actors.errors import ConfigError
from tests.gems_actors.cli.commands import run_gems

PATHS = BatchPaths(mesh=Path("/shared/mesh.toml"), folder=Path("/shared/mesh"), programs=Path("/shared/venv/bin"))
MESH = """\
blobs = "mesh:"
[slurm]
partition = "gpu"
time = "24:00:00"
options = ["--qos=high"]
[slurm.head]
mem = "16G"
options = ["--nodelist=node01"]
[[slurm.groups]]
name = "gpu"
roles = { generator = 1 }
array = 4
gres = "gpu:1"
cpus = 8
[[slurm.groups]]
name = "chat"
roles = { verifier = 8, planner = 2 }
"""


def rendered(tmp_path: Path, text: str = MESH) -> dict[str, str]:
    (tmp_path / "mesh.toml").write_text(text)
    return batch_files(load_config(tmp_path / "mesh.toml", {}), PATHS)


def options_of(text: str) -> set[str]:
    return {line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")}


def test_there_is_a_file_for_the_head_and_one_for_each_group(tmp_path: Path) -> None:
    assert [*rendered(tmp_path)] == ["head.sbatch", "gpu.sbatch", "chat.sbatch"]
    assert [*rendered(tmp_path, "")] == ["head.sbatch"]


def test_jobs_have_the_options_of_the_settings_and_no_others(tmp_path: Path) -> None:
    files = rendered(tmp_path)
    common = {
        "--chdir=/shared/mesh", "--open-mode=append", "--ntasks=1", "--requeue", "--signal=B:TERM@60",
        "--partition=gpu", "--time=24:00:00", "--qos=high",
    }  # fmt: skip
    named = [{f"--job-name=gems-{name}" for name in names} for names in (("head",), ("gpu",), ("chat",))]
    assert options_of(files["head.sbatch"]) == common | named[0] | {
        "--output=head.log", "--mem=16G", "--nodelist=node01",
    }  # fmt: skip
    assert options_of(files["gpu.sbatch"]) == common | named[1] | {
        "--output=gpu-%a.log", "--array=0-3", "--gres=gpu:1", "--cpus-per-task=8",
    }  # fmt: skip
    assert options_of(files["chat.sbatch"]) == common | named[2] | {"--output=chat-%a.log", "--array=0-0"}


def test_the_head_plays_the_roles_of_no_group(tmp_path: Path) -> None:
    head = rendered(tmp_path)["head.sbatch"]
    assert "# The head of a mesh: router, memory, decomposer, compressor, refiner, conductor.\n" in head
    zeros = [line.split()[1] for line in head.splitlines() if line.lstrip().startswith("--set roles.")]
    assert zeros == ["roles.planner.count=0", "roles.generator.count=0", "roles.verifier.count=0"]


def test_a_role_of_a_group_is_not_autoscaled_at_the_head(tmp_path: Path) -> None:
    head = rendered(tmp_path, MESH + "[roles.verifier]\nmin = 1\nmax = 8\n")["head.sbatch"]
    assert "--set roles.verifier.min=0" in head
    assert "--set roles.verifier.max=0" in head


def test_the_warning_leaves_time_to_drain(tmp_path: Path) -> None:
    files = rendered(tmp_path, MESH + "[supervisor]\ngrace_s = 45.0\n")
    assert all("--signal=B:TERM@180" in options_of(text) for text in files.values())


def test_agents_play_the_roles_of_their_group(tmp_path: Path) -> None:
    files = rendered(tmp_path)
    assert "each with generator." in files["gpu.sbatch"]
    assert files["chat.sbatch"].splitlines()[-2:] == [
        'exec gems agent --router-file router.address --config /shared/mesh.toml --name "chat-$SLURM_ARRAY_TASK_ID" \\',
        "    verifier=8 planner=2",
    ]


def test_the_address_file_names_every_router_of_the_head(tmp_path: Path) -> None:
    head = rendered(tmp_path, '[router]\ncount = 2\nothers = ["tcp://far:1"]')["head.sbatch"]
    assert 'echo "tcp://$host:$port,tcp://$host:$((port + 1)),tcp://far:1 job $SLURM_JOB_ID restart ' in head


def test_bash_accepts_every_file(tmp_path: Path) -> None:
    for text in rendered(tmp_path).values():
        checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_edits_are_detected(tmp_path: Path) -> None:
    for text in rendered(tmp_path).values():
        assert not is_edited(text)
        assert is_edited(text.replace("--time=24:00:00", "--time=12:00:00"))
        assert is_edited(text.replace("# as rendered", "# rendered"))
        assert is_edited(text + "\n")


def test_impossible_groups_are_refused(tmp_path: Path) -> None:
    group = 'blobs = "mesh:"\n[[slurm.groups]]\nname = "gpu"\nroles = { generator = %d }\n'
    with pytest.raises(ConfigError, match=r"slurm\.groups: expected unique names, got gpu twice"):
        rendered(tmp_path, group % 1 + (group % 1).partition("\n")[2])
    with pytest.raises(ConfigError, match=r"slurm\.groups: expected a role with a count in gpu, got none"):
        rendered(tmp_path, group % 0)
    with pytest.raises(
        ConfigError, match=r'blobs: expected a store that all nodes reach, such as "mesh:" or .*, got none'
    ):
        rendered(tmp_path, (group % 1).partition("\n")[2])
    with pytest.raises(ConfigError, match=r"expected a path without spaces or shell characters, got /my files"):
        batch_files(load_config(None, {}), BatchPaths(Path("/my files/mesh.toml"), PATHS.folder, PATHS.programs))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '[[slurm.groups]]\nname = "head"\nroles = {}',
            r"slurm\.groups\[0\]\.name: expected a name .*and not head, got",
        ),
        (
            '[[slurm.groups]]\nname = "gpu"\nroles = { memory = 1 }',
            r"roles\.memory: expected one of conductor, .*, got",
        ),
        ('[[slurm.groups]]\nname = "gpu"', r"slurm\.groups\[0\]\.roles: expected a table, got none"),
        ('[slurm]\ntime = "1 day"', r"slurm\.time: expected a word that Slurm takes, without spaces or quotes, got"),
        ('[slurm]\noptions = ["qos=high"]', r"slurm\.options\[0\]: expected an option of sbatch in one line, such as"),
    ],
)
def test_an_invalid_setting_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        rendered(tmp_path, text)


def test_edited_files_are_overwritten_only_with_force(tmp_path: Path) -> None:
    (tmp_path / "mesh.toml").write_text(MESH)
    render = ("slurm", "render", "mesh.toml", "--out", "mesh")
    first = run_gems(tmp_path, *render)
    head = tmp_path / "mesh" / "head.sbatch"
    assert (first.returncode, first.stdout.splitlines()[0]) == (0, "mesh/head.sbatch")
    (tmp_path / "mesh.toml").write_text(MESH.replace("24:00:00", "12:00:00"))
    assert run_gems(tmp_path, *render).returncode == 0
    head.write_text(head.read_text().replace("--time=12:00:00", "--time=06:00:00"))
    refused = run_gems(tmp_path, *render)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "expected unedited batch files, got edited ones: head.sbatch; --force" in refused.stderr
    assert "--time=06:00:00" in head.read_text()
    assert run_gems(tmp_path, *render, "--force").returncode == 0
    assert "--time=12:00:00" in head.read_text()


def test_files_of_other_groups_are_kept_and_named(tmp_path: Path) -> None:
    (tmp_path / "mesh.toml").write_text(MESH)
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "mine.sbatch").write_text("#!/bin/bash\n")
    done = run_gems(tmp_path, "slurm", "render", "mesh.toml", "--out", "mesh")
    assert done.stderr == "gems: mesh/mine.sbatch is not a group of mesh.toml; `gems slurm up` starts it, too\n"


@pytest.mark.parametrize(
    ("setting", "is_so"),
    [("75", True), ("1-3,75", True), ("70-80", True), ("7", False), ("175", False), ("(null)", False), ("1-74", False)],
)
def test_the_exit_codes_that_a_cluster_requeues_are_parsed(setting: str, is_so: bool) -> None:
    assert is_requeued(75, f"PreemptMode = OFF\nRequeueExit             = {setting}\nResumeRate = 300") is is_so
    assert not is_requeued(75, f"RequeueExitHold = {setting}\n")


def test_stopping_does_not_wait_forever_for_a_job_whose_node_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm is played by scripts: the job stays completing, whatever it is told."""
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    for command, output in (("squeue", "7|7|0|COMPLETING|n1|"), ("scancel", "")):
        (programs / command).write_text(f"#!/bin/sh\necho {command} >>{calls}\necho '{output}'\n")
        (programs / command).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    (tmp_path / JOBS_NAME).write_text('{"submitted": {"head": [7]}}')
    assert stop_mesh(tmp_path, drain_s=0.0) == 1
    assert calls.read_text().split() == ["squeue", "squeue", "scancel", "squeue"]


def test_a_missing_slurm_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "head.sbatch").write_text("#!/bin/bash\n")
    (tmp_path / "jobs.json").write_text('{"submitted":{"head":[1]}}')
    for command in ("up", "status", "down"):
        done = run_gems(tmp_path, "slurm", command, str(tmp_path), more={"PATH": str(tmp_path)})
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "expected a command of Slurm on this host, got none" in done.stderr
    empty = run_gems(tmp_path, "slurm", "up", "nowhere")
    assert (empty.returncode, empty.stderr) == (
        2,
        "gems: DIR: expected head.sbatch of `gems slurm render` in nowhere, got none\n",
    )


@pytest.mark.parametrize("command", ["up", "status", "down"])
def test_a_folder_without_a_mesh_is_refused(tmp_path: Path, command: str) -> None:
    done = run_gems(tmp_path, "slurm", command, "nowhere")
    words = "gems: DIR: expected head.sbatch of `gems slurm render` in nowhere, got none\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", words)


def test_an_output_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mesh.toml").write_text(MESH)
    done = run_gems(tmp_path, "slurm", "render", "mesh.toml", "--out", "mesh.toml")
    words = "gems: --out: mesh.toml: expected a folder to write into, got: File exists\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", words)
