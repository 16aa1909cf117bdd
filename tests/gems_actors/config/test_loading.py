"""Settings come from four places, later ones win, and a wrong one is named in one line."""

from functools import partial
from pathlib import Path

import pytest

from gems_actors.config import ChatModelConfig, MeshConfig, load_config
from gems_actors.errors import ConfigError

ADDRESS = "tcp://HOST:PORT, with a port from 1 to 65535, or ipc:///PATH"


def refusal(*flags: str, path: Path | None = None, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, environment or {}, flags)
    return str(caught.value)


def write(folder: Path, text: str) -> Path:
    path = folder / "mesh.toml"
    path.write_text(text)
    return path


# ------------------------------------------------------------------------------------------------------ reading


def test_without_any_source_the_mesh_is_the_embedded_one() -> None:
    config = load_config(None, {})
    assert config == MeshConfig()
    assert config.image.backend == config.chat.backend == "storyboard"


def test_every_role_that_is_started_has_settings() -> None:
    assert [MeshConfig().role(role).count for role in MeshConfig().role_specs] == [1] * 8


def test_flags_win_over_the_environment_and_the_environment_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[draw]\nmax_rounds = 2\ncandidates = 2\nwidth_px = 512")
    environment = {"GEMS__DRAW__MAX_ROUNDS": "3", "GEMS__DRAW__CANDIDATES": "3"}
    draw = load_config(path, environment, ["draw.max_rounds=4"]).draw
    assert (draw.max_rounds, draw.candidates, draw.width_px, draw.height_px) == (4, 3, 512, 768)


def test_the_environment_of_other_programs_is_left_alone() -> None:
    assert load_config(None, {"HOME": "/root", "GEMS_PROMPT": "a fox", "gems__roles": "4"}) == MeshConfig()


def test_the_process_environment_is_read_unless_another_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMS__ROLES__VERIFIER__COUNT", "4")
    assert load_config().role("verifier").count == 4


@pytest.mark.parametrize("text", ["json", '"json"', "'json'"])
def test_words_in_a_flag_need_no_quotes(text: str) -> None:
    assert load_config(None, {}, [f"log.format={text}"]).log.format == "json"


def test_a_flag_may_hold_an_equals_sign() -> None:
    assert load_config(None, {}, ["data_dir=/a=b"]).data_dir == "/a=b"


def test_folders_in_a_file_are_taken_from_the_folder_of_the_file(tmp_path: Path) -> None:
    text = 'data_dir = "data"\n[router]\nruntime_dir = "../run"\n[skills]\nfolders = ["mine", "/theirs"]'
    config = load_config(write(tmp_path, text), {})
    assert config.data_path == tmp_path / "data"
    assert config.runtime_path == tmp_path / "../run"
    assert config.skills.folders == (f"{tmp_path}/mine", "/theirs")


def test_folders_elsewhere_are_taken_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(None, {"GEMS__ROUTER__RUNTIME_DIR": "run"}, ["data_dir=data", 'skills.folders=["mine"]'])
    assert (config.data_path, config.runtime_path) == (tmp_path / "data", tmp_path / "run")
    assert config.skills.folders == (f"{tmp_path}/mine",)
    assert config.local_address == f"ipc://{tmp_path}/run/router.ipc"


def test_folders_that_nobody_names_follow_the_desktop_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.setenv("XDG_STATE_HOME", "/home/fox/state")
    assert MeshConfig().local_address == "ipc:///run/user/7/gems-actors/router.ipc"
    assert MeshConfig().data_path == Path("/home/fox/state/gems-actors")


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.1:5555", "tcp://*:5555", "tcp://[::1]:5555", "ipc:///run/router.ipc"]
)
def test_a_router_listens_at_a_tcp_or_ipc_address(address: str) -> None:
    assert load_config(None, {}, [f"router.address={address}"]).router.address == address


# ------------------------------------------------------------------------------------------------------ refusing


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("draw.memory=all", 'draw.memory: expected one of none, prompts, images, thoughts, full, got "all"'),
        ("log.level=INFO", 'log.level: expected one of debug, info, warning, error, got "INFO"'),
        (
            "image.backend=paint",
            'image.backend: expected one of storyboard, diffusers, openai, or your own as MODULE:FUNCTION, got "paint"',
        ),
        (
            "image.url=gpu:8000",
            'image.url: expected the address of a server, such as http://HOST:8000/v1, got "gpu:8000"',
        ),
        ("image.extra=8", "image.extra: expected a table, got 8"),
        (
            "image.devices=first",
            "image.devices: expected one of next, all, or a list such as ['cuda:0', 'cuda:1'], got \"first\"",
        ),
        (
            "image.devices=[]",
            "image.devices: expected one of next, all, or a list such as ['cuda:0', 'cuda:1'], got []",
        ),
        ("image.devices=['cpu', 'gpu0']", 'image.devices[1]: expected cpu, cuda or cuda:N, got "gpu0"'),
        ("image.warm_up=[[1024]]", "image.warm_up[0]: expected a list of 2, got [1024]"),
        ("image.warm_up=[[64, 8]]", "image.warm_up[0][1]: expected a whole number of at least 16, got 8"),
        ("image.dtype=int8", 'image.dtype: expected one of auto, bfloat16, float16, float32, got "int8"'),
        ("draw.steps=0", "draw.steps: expected a whole number of at least 1, got 0"),
        ("draw.guidance=-1", "draw.guidance: expected a number of at least 0, got -1"),
        (
            "chat.backend=paint",
            'chat.backend: expected one of storyboard, openai, replay, or your own as MODULE:FUNCTION, got "paint"',
        ),
        ("router.address=10.0.0.1", f'router.address: expected {ADDRESS}, got "10.0.0.1"'),
        ("router.address='ipc://run'", f'router.address: expected {ADDRESS}, got "ipc://run"'),
        ("router.address=5555", f"router.address: expected {ADDRESS}, got 5555"),
        ("metrics.address=9464", "metrics.address: expected HOST:PORT such as 127.0.0.1:9464, got 9464"),
        ("metrics.address=here:0", 'metrics.address: expected HOST:PORT such as 127.0.0.1:9464, got "here:0"'),
        ("roles.verifier.count=four", 'roles.verifier.count: expected a whole number, got "four"'),
        ("roles.verifier.count=4.5", "roles.verifier.count: expected a whole number, got 4.5"),
        ("roles.verifier.count=true", "roles.verifier.count: expected a whole number, got true"),
        ("roles.verifier.count=-1", "roles.verifier.count: expected a whole number of at least 0, got -1"),
        ("roles.verifier.count=4097", "roles.verifier.count: expected a whole number of at most 4096, got 4097"),
        ("roles.verifier.capacity=0", "roles.verifier.capacity: expected a whole number of at least 1, got 0"),
        ("router.heartbeat_s=soon", 'router.heartbeat_s: expected a number, got "soon"'),
        ("router.heartbeat_s=0", "router.heartbeat_s: expected a number above 0, got 0"),
        ("router.heartbeat_s=nan", "router.heartbeat_s: expected a number above 0, got NaN"),
        ("router.heartbeat_s=1e9", "router.heartbeat_s: expected a number of at most 86400, got 1000000000.0"),
        ("draw.stop_when_all_met=yes", 'draw.stop_when_all_met: expected true or false, got "yes"'),
        ("data_dir=3", "data_dir: expected the path of a folder, got 3"),
        ("data_dir=''", 'data_dir: expected the path of a folder, got ""'),
        ("data_dir=2026-01-01", 'data_dir: expected the path of a folder, got "2026-01-01"'),
        ("skills.folders=mine", 'skills.folders: expected a list, got "mine"'),
        ("skills.folders=['a', 1]", "skills.folders[1]: expected the path of a folder, got 1"),
        ("roles.verifier=4", "roles.verifier: expected a table, got 4"),
        ("roles=[]", "roles: expected a table, got []"),
        ("roles.verifer.count=4", 'roles.verifer: expected a known key, got "verifer"; did you mean verifier?'),
        ("rooter.address=5", 'rooter: expected a known key, got "rooter"; did you mean router?'),
        ("log.colour=true", 'log.colour: expected one of level, format, got "colour"'),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected_and_what_came(flag: str, message: str) -> None:
    assert refusal(flag) == f"--set: {message}"


def test_a_role_has_the_model_of_all_but_for_what_is_said_of_it() -> None:
    flags = [
        "chat.backend=openai", "chat.url=http://one/v1", "chat.model=large", "chat.api_key_env=KEY",
        "chat.timeout_s=60", "chat.extra={top_p=0.8, seed=1}",
        "chat.roles.verifier.temperature=0.0", "chat.roles.verifier.extra={seed=2}",
        "chat.roles.refiner.url=http://two/v1", "chat.roles.refiner.thinking=false",
    ]  # fmt: skip
    chat = load_config(environment={}, settings=flags).chat
    common = partial(ChatModelConfig, backend="openai", timeout_s=60.0)
    assert chat.of("planner") == common(
        url="http://one/v1", model="large", api_key_env="KEY", extra={"top_p": 0.8, "seed": 1}
    )
    assert chat.of("verifier") == common(
        url="http://one/v1", model="large", api_key_env="KEY", temperature=0.0, extra={"top_p": 0.8, "seed": 2}
    )
    assert chat.of("refiner") == common(url="http://two/v1", thinking=False, extra={"top_p": 0.8, "seed": 1}), (
        "another server has models and a key of its own"
    )


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        (["chat.backend=openai"], "chat"),
        (["chat.roles.verifier.backend=openai"], "chat.roles.verifier"),
        (["image.backend=openai"], "image"),
    ],
)
def test_a_server_without_an_address_is_named(flags: list[str], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}\.url: expected the address of a server"):
        load_config(environment={}, settings=flags)


def test_a_wrong_setting_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[roles.generator]\ncount = -2")
    message = f"{path}: roles.generator.count: expected a whole number of at least 0, got -2"
    assert refusal(path=path) == message
    assert refusal("roles.generator.count=1", path=path) == message  # though a flag would win


def test_a_wrong_setting_in_the_environment_names_the_variable() -> None:
    variable = "GEMS__ROLES__GENERATOR__COUNT"
    message = refusal(environment={variable: "many"})
    assert message == f'environment {variable}: roles.generator.count: expected a whole number, got "many"'
    message = refusal(environment={"GEMS__": "1"})
    assert message == "environment GEMS__: expected a name such as GEMS__ROLES__VERIFIER__COUNT, got GEMS__"


@pytest.mark.parametrize(
    "flag", ["", "draw", "=4", "draw=", "Draw.rounds=4", "draw..rounds=4", ".draw=4", "draw rounds=4"]
)
def test_a_flag_that_is_no_key_and_value_is_refused(flag: str) -> None:
    assert refusal(flag).startswith("--set: ")
    assert "\n" not in refusal(flag)


def test_a_long_or_broken_value_still_makes_one_short_line() -> None:
    message = refusal(environment={"GEMS__LOG__LEVEL": "x\ny" * 1000})
    assert "\n" not in message
    assert len(message) < 400


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    assert refusal(path=path) == f"{path}: expected a readable TOML file, got: No such file or directory"


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "roles:\n  verifier: 4\n")
    assert refusal(path=path).startswith(f"{path}: expected TOML, got: ")


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mesh.toml"
    path.write_bytes(b'data_dir = "gr\xfcn"')
    assert refusal(path=path) == f"{path}: expected UTF-8 text, got byte 0xfc"


def test_patience_shorter_than_three_heartbeats_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"router.silence_s: expected at least 3 times .* got 6"):
        load_config(environment={}, settings=["router.heartbeat_s=10"])


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_port_that_does_not_exist_is_refused(port: str) -> None:
    with pytest.raises(ConfigError, match="with a port from 1 to 65535"):
        load_config(environment={}, settings=[f"router.address=tcp://127.0.0.1:{port}"])


@pytest.mark.parametrize("model", ["image", "chat"])
def test_a_server_without_an_address_is_refused(model: str) -> None:
    with pytest.raises(ConfigError, match=rf"{model}\.url: expected the address of a server, such as .*, got none"):
        load_config(environment={}, settings=[f"{model}.backend=openai"])
