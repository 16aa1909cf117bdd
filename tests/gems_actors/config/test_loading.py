"""Settings come from packages, a file, the environment and flags; later sources win, and errors name theirs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gems_actors.config import MeshConfig, load_code, load_config, with_installed_roles
from gems_actors.errors import ConfigError
from tests.gems_actors.conftest import spec_of
from tests.gems_actors.test_files import KINDS, make


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


def test_every_role_has_settings() -> None:
    assert [MeshConfig().role(role).count for role in MeshConfig().role_specs] == [1] * 8


def test_flags_win_over_the_environment_and_the_environment_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[draw]\nmax_rounds = 2\ncandidates = 2\nwidth_px = 512")
    environment = {"GEMS__DRAW__MAX_ROUNDS": "3", "GEMS__DRAW__CANDIDATES": "3"}
    draw = load_config(path, environment, ["draw.max_rounds=4"]).draw
    assert (draw.max_rounds, draw.candidates, draw.width_px, draw.height_px) == (4, 3, 512, 768)


def test_variables_of_other_programs_are_ignored() -> None:
    assert load_config(None, {"HOME": "/root", "GEMS_PROMPT": "a fox", "gems__roles": "4"}) == MeshConfig()


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMS__ROLES__VERIFIER__COUNT", "4")
    assert load_config().role("verifier").count == 4


@pytest.mark.parametrize("text", ["json", '"json"', "'json'"])
def test_text_in_a_flag_needs_no_quotes(text: str) -> None:
    assert load_config(None, {}, [f"log.format={text}"]).log.format == "json"


def test_a_flag_may_hold_an_equals_sign() -> None:
    assert load_config(None, {}, ["data_dir=/a=b"]).data_dir == "/a=b"


def test_relative_paths_in_a_file_refer_to_its_folder(tmp_path: Path) -> None:
    text = 'data_dir = "data"\n[router]\nruntime_dir = "../run"\n[skills]\nfolders = ["mine", "/theirs"]'
    config = load_config(write(tmp_path, text), {})
    assert config.data_path == tmp_path / "data"
    assert config.runtime_path == tmp_path / "../run"
    assert config.skills.folders == (f"{tmp_path}/mine", "/theirs")


def test_other_relative_paths_refer_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(None, {"GEMS__ROUTER__RUNTIME_DIR": "run"}, ["data_dir=data", 'skills.folders=["mine"]'])
    assert (config.data_path, config.runtime_path) == (tmp_path / "data", tmp_path / "run")
    assert config.skills.folders == (f"{tmp_path}/mine",)
    assert config.local_address == f"ipc://{tmp_path}/run/router.ipc"


def test_default_folders_follow_the_xdg_standard(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_an_error_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[roles.generator]\ncount = -2")
    message = f"{path}: roles.generator.count: expected a whole number of at least 0, got -2"
    assert refusal(path=path) == message
    assert refusal("roles.generator.count=1", path=path) == message  # though a flag would win


def test_an_error_in_the_environment_names_the_variable() -> None:
    variable = "GEMS__ROLES__GENERATOR__COUNT"
    message = refusal(environment={variable: "many"})
    assert message == f'environment {variable}: roles.generator.count: expected a whole number, got "many"'
    message = refusal(environment={"GEMS__": "1"})
    assert message == "environment GEMS__: expected a name such as GEMS__ROLES__VERIFIER__COUNT, got GEMS__"


@pytest.mark.parametrize(
    "flag", ["", "draw", "=4", "draw=", "Draw.rounds=4", "draw..rounds=4", ".draw=4", "draw rounds=4"]
)
def test_a_flag_without_key_and_value_is_refused(flag: str) -> None:
    assert refusal(flag).startswith("--set: ")
    assert "\n" not in refusal(flag)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    assert refusal(path=path) == f"{path}: expected a readable TOML file, got: No such file or directory"


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "roles:\n  verifier: 4\n")
    assert refusal(path=path).startswith(f"{path}: expected TOML, got: ")


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mesh.toml"
    path.write_bytes(b'data_dir = "gr\xfcn"')
    assert refusal(path=path) == f"{path}: expected UTF-8 text, got byte 0xfc"


# ------------------------------------------------------------------------------------------------------ own roles


def test_a_role_that_one_source_declares_can_be_set_by_another(tmp_path: Path) -> None:
    path = write(tmp_path, 'import_path = ["."]\n[roles.translator]\nactor = "own:Translator"')
    config = load_config(path, {"GEMS__ROLES__TRANSLATOR__CAPACITY": "8"}, ["roles.translator.count=2"])
    assert config.import_path == (str(tmp_path),)
    assert (config.role("translator").count, config.role("translator").capacity) == (2, 8)
    assert config.role_specs["translator"].actor == "own:Translator"


def test_a_role_without_a_class_is_an_unknown_key() -> None:
    refused = refusal("roles.translator.count=2")
    assert refused.startswith("--set: roles.translator: expected one of conductor, planner")
    assert refused.endswith(', got "translator"; a role of your own needs `actor`')


def test_code_of_the_user_that_cannot_be_imported_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a_script.py").write_text("import sys\nsys.exit('usage:\\nscript')")
    for code, path, message in (
        (
            "a_script:X",
            tmp_path,
            "roles.poet.actor: expected a_script:X to be importable, got SystemExit: usage: script",
        ),
        ("a_typo:X", tmp_path, "No module named 'a_typo'; add its folder to import_path"),
        ("a_typo:X", tmp_path / "gone", f"'a_typo'; import_path: expected folders, got {tmp_path}/gone"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_code("roles.poet.actor", code, [str(path)])
        assert str(caught.value).endswith(message)


@pytest.mark.parametrize("name", ["Translator", "a-b", "seventeen_letters", "1st"])
def test_a_role_needs_a_name_that_fits_the_wire(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, f'[roles."{name}"]\nactor = "own:Translator"')
    assert refusal(path=path).startswith(f"{path}: roles.{name}: expected a role name such as translator: up to 16")


@pytest.mark.parametrize(
    "flag",
    [
        "roles.poet.capacity=8",
        "loop.before_plan=poet",
        "roles.verifier.may_ask=['poet.Rhyme']",
        "slurm.groups=[{name='gpu', roles={poet=2}}]",
    ],
)
def test_a_role_of_an_installed_package_plays_where_a_setting_names_it(
    install: Callable[[str], None], flag: str
) -> None:
    install(spec_of("poet"))
    config = load_config(None, {}, [flag])
    assert config.role("poet").count == 1
    assert config.role_specs["poet"].requests == ("Rhyme", "BeforePlan")


def test_a_role_of_an_installed_package_plays_where_a_command_names_it(install: Callable[[str], None]) -> None:
    install(spec_of("poet"))
    config = load_config(None, {}, ["roles.translator.actor=own:Translator"])
    assert with_installed_roles(config, ["planner", "translator", "client", "stranger"]) == config
    config = with_installed_roles(config, ["poet"])
    assert {"translator", "poet"} <= config.role_specs.keys()
    assert config.role_specs["poet"].requests == ("Rhyme", "BeforePlan")


def test_settings_and_commands_without_its_name_do_not_look_at_an_installed_package(
    install: Callable[[str], None],
) -> None:
    install("raise SystemError('imported')")
    config = load_config(None, {}, ["roles.translator.actor=own:Translator", "roles.verifier.count=2"])
    assert "poet" not in with_installed_roles(config, ["translator", "verifier", "agent"]).role_specs
    assert load_config(None, {}, ["roles.poet.actor=own:Poet"]).role_specs["poet"].actor == "own:Poet"
    assert refusal("roles.poet.count=2").endswith(": expected a RoleSpec, got SystemError: imported")


def test_loading_settings_of_known_roles_does_not_import_the_metadata_of_packages() -> None:
    code = (
        "import sys; from gems_actors.config import load_config, with_installed_roles\n"
        "with_installed_roles(load_config(None, {}, ['roles.verifier.count=2']), ['planner', 'admin'])\n"
        "print('importlib.metadata' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_a_role_that_does_not_chat_cannot_be_given_a_chat_model(install: Callable[[str], None]) -> None:
    install(spec_of("poet"))
    assert refusal("chat.roles.poet.model=x").startswith("chat.roles.poet: expected one of planner, decomposer, ")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (spec_of("planner"), "expected a role that is named poet, too, got planner"),
        ("ROLE = 'poet'", "expected a RoleSpec, got str"),
        ("", "expected a RoleSpec, got AttributeError: module 'own_package' has no attribute"),
        ("import no_such", "expected a RoleSpec, got ModuleNotFoundError: No module named 'no_such'"),
        (spec_of("poet").replace("own:Poet", "own"), 'roles.poet.actor: expected a class as MODULE:CLASS, got "own"'),
    ],
)
def test_a_package_with_an_impossible_role_is_named(install: Callable[[str], None], code: str, message: str) -> None:
    install(code)
    assert refusal("roles.poet.count=2").startswith(f"entry point poet = own_package:ROLE: {message}")
    with pytest.raises(ConfigError, match=r"^entry point poet = own_package:ROLE: "):
        with_installed_roles(MeshConfig(), ["poet"])


# ------------------------------------------------------------------------------------------------------ odd files

DEEP = 5_000


@pytest.mark.parametrize(
    "text",
    [
        f"data_dir = {'[' * DEEP}{']' * DEEP}",
        f"data_dir = {'{a = ' * DEEP}1{'}' * DEEP}",
        f"{'.'.join('a' * DEEP)} = 1",
        f"[{'.'.join('a' * DEEP)}]",
        f"data_dir = {'[' * 100}{']' * 100}",
    ],
    ids=["lists", "tables", "dotted keys", "headers", "a hundred lists"],
)
@pytest.mark.slow
def test_settings_that_are_nested_too_deep_are_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    assert refusal(path=path) == f"{path}: expected tables and lists nested fewer than 32 deep, got deeper ones"


def test_flags_and_variables_that_are_nested_too_deep_are_refused_in_one_line() -> None:
    deep = "expected tables and lists nested fewer than 32 deep, got deeper ones"
    assert refusal(f"data_dir={'[' * DEEP}{']' * DEEP}") == f"data_dir: {deep}"
    assert refusal(f"{'.'.join('a' * DEEP)}=1").endswith(deep)
    assert refusal(environment={f"GEMS__{'__'.join('A' * DEEP)}": "1"}).endswith(deep)


@pytest.mark.parametrize(("kind", "reason"), KINDS.items())
def test_a_settings_file_that_is_no_file_is_refused_in_one_line(tmp_path: Path, kind: str, reason: str) -> None:
    path = make(tmp_path, kind)
    assert refusal(path=path) == f"{path}: expected a readable TOML file, got: {reason}"


def test_a_settings_file_may_begin_with_a_byte_order_mark_and_have_line_ends_of_windows(tmp_path: Path) -> None:
    path = tmp_path / "mesh.toml"
    path.write_bytes(b"\xef\xbb\xbf[draw]\r\nmax_rounds = 3\r\n")
    assert load_config(path, {}).draw.max_rounds == 3


def test_a_settings_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mesh.toml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert refusal(path=path) == f"{path}: expected a TOML file of up to 16777216 bytes, got a larger one"
