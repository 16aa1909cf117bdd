"""The batch files of a mesh: their contents, their syntax, and the detection of edits."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gems_actors.app.slurm.batch_files import BatchPaths, batch_files, is_edited
from gems_actors.config import load_config
from gems_actors.errors import ConfigError

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


def test_a_gateway_of_the_mesh_file_is_played_by_the_head_and_by_no_group(tmp_path: Path) -> None:
    files = rendered(tmp_path, f'{MESH}[gateway]\naddress = "127.0.0.1:8484"\n')
    head, *groups = files.values()
    assert "gateway" in head.splitlines()[1]
    assert "roles.gateway" not in head, "whose count is that of the settings"
    assert not [text for text in groups if "gateway" in text]


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
    ("text", "message"),
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
def test_an_invalid_setting_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rendered(tmp_path, text)
