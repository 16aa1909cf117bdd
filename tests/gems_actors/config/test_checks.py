"""Impossible settings, alone or together, are refused in one line: the key, what was expected, and what was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from gems_actors.config import load_config
from gems_actors.errors import ConfigError

ADDRESS = "tcp://HOST:PORT, with a port from 1 to 65535, or ipc:///PATH"


def refusal(*flags: str, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(None, environment or {}, flags)
    return str(caught.value)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("draw.memory=all", 'draw.memory: expected one of none, prompts, images, thoughts, full, got "all"'),
        ("log.level=INFO", 'log.level: expected one of debug, info, warning, error, got "INFO"'),
        (
            "image.backend=paint",
            "image.backend: expected one of storyboard, diffusers, openai, gems, or your own as MODULE:FUNCTION, "
            'got "paint"',
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
        ("router.heartbeat_s=0", "router.heartbeat_s: expected a number of at least 0.05, got 0"),
        ("router.heartbeat_s=nan", "router.heartbeat_s: expected a number of at least 0.05, got NaN"),
        ("router.heartbeat_s=1e9", "router.heartbeat_s: expected a number of at most 60, got 1000000000.0"),
        ("draw.stop_when_all_met=yes", 'draw.stop_when_all_met: expected true or false, got "yes"'),
        ("data_dir=3", "data_dir: expected the path of a folder, got 3"),
        ("data_dir=''", 'data_dir: expected the path of a folder, got ""'),
        ("data_dir=2026-01-01", 'data_dir: expected the path of a folder, got "2026-01-01"'),
        ("skills.folders=mine", 'skills.folders: expected a list, got "mine"'),
        ("skills.folders=['a', 1]", "skills.folders[1]: expected the path of a folder, got 1"),
        ("roles.verifier.version=3", "roles.verifier.version: expected text of up to 64 characters, got 3"),
        ("roles.verifier=4", "roles.verifier: expected a table, got 4"),
        ("roles=[]", "roles: expected a table, got []"),
        ("roles.verifer.count=4", 'roles.verifer: expected a known key, got "verifer"; did you mean verifier?'),
        ("rooter.address=5", 'rooter: expected a known key, got "rooter"; did you mean router?'),
        ("log.colour=true", 'log.colour: expected one of level, format, got "colour"'),
    ],
)
def test_an_impossible_setting_is_explained(flag: str, message: str) -> None:
    assert refusal(flag) == f"--set: {message}"


def test_an_error_stays_one_short_line_whatever_the_value() -> None:
    message = refusal(environment={"GEMS__LOG__LEVEL": "x\ny" * 1000})
    assert "\n" not in message
    assert len(message) < 400


PATHS = ("data_dir", "router.runtime_dir", "image.api_key_file", "security.key", "gateway.tokens", "chat.record")


@pytest.mark.parametrize("key", [*PATHS, "blobs", "router.address", "import_path", "include", "skills.folders"])
def test_a_path_with_a_nul_character_is_refused_with_its_key(tmp_path: Path, key: str) -> None:
    scheme = {"blobs": "file:///", "router.address": "ipc:///"}.get(key, "")
    value = f'"{scheme}a\\u0000b"'
    is_list = key in ("import_path", "include", "skills.folders")
    path = tmp_path / "mesh.toml"
    path.write_text(f"{key} = {f'[{value}]' if is_list else value}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert str(caught.value).startswith(f"{path}: {key}{'[0]' * is_list}: expected ")


@pytest.mark.parametrize(
    "url",
    ["http://h:99999/v1", "http://h:0", "http://h:abc/v1", "http://[::1", "http://::1/v1", "http://a b/v1", "http://"],
)
def test_an_address_that_no_server_can_have_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"image.url: expected the address of a server"):
        load_config(environment={}, settings=[f"image.url={url}"])


@pytest.mark.parametrize(
    "url",
    ["http://gpu-box:8000/v1", "https://api.example.com", "http://me:secret@box:1/v1", "http://[::1]:65535/v1?key=a:b"],
)
def test_an_address_that_a_server_can_have_is_accepted(url: str) -> None:
    assert load_config(environment={}, settings=[f"image.url={url}"]).image.url == url


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_an_impossible_port_is_refused(port: str) -> None:
    with pytest.raises(ConfigError, match="with a port from 1 to 65535"):
        load_config(environment={}, settings=[f"router.address=tcp://127.0.0.1:{port}"])


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        (["chat.backend=openai"], "chat"),
        (["chat.roles.verifier.backend=openai"], "chat.roles.verifier"),
        (["image.backend=openai"], "image"),
        (["image.backend=gems"], "image"),
    ],
)
def test_a_server_requires_an_address(flags: list[str], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}\.url: expected the address of a server"):
        load_config(environment={}, settings=flags)


def test_a_heartbeat_timeout_below_three_heartbeats_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"router.silence_s: expected at least 3 times .* got 6"):
        load_config(environment={}, settings=["router.heartbeat_s=10"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["blobs=mesh:", "router.address=tcp://127.0.0.1:65500"],
            "router.address: expected a port up to 65435, because pictures are served at a port 100 higher, got tcp://",
        ),
        (["image.backend=diffusers"], "image.model: expected a folder or a hub id such as owner/name, got none"),
        (["chat.backend=replay"], "chat.replay: expected the path of a file that chat.record has made, got none"),
        (["verify.met_from=0.3"], "verify.unmet_below: expected at most verify.met_from (0.3), got 0.4"),
        (["loop.before_plan=translator"], "loop.before_plan: expected one of conductor, planner, "),
        (
            ["loop.before_plan=planner"],
            "roles.planner.requests: expected BeforePlan, which loop.before_plan needs, got PlanPrompt",
        ),
        (["chat.roles.generator.model=x"], "chat.roles.generator: expected one of planner, decomposer, "),
        (
            ["roles.poet.actor=a:B", "roles.poet.may_ask=['muse.Hum']"],
            "roles.poet.may_ask: expected one of conduc",
        ),
        (
            ["roles.agent_x.actor=a:B"],
            "roles.agent_x: expected a name that the runtime does not use itself, got agent_x",
        ),
        (["roles.memory_1.actor=a:B"], "roles.memory_1: expected a name that the runtime does not use itself"),
        (
            ["roles.gateway.count=1"],
            "gateway.address: expected HOST:PORT such as 127.0.0.1:8484 for roles.gateway",
        ),
        (["gateway.address=0.0.0.0:80"], "gateway.tokens: expected a file with tokens, or gateway.tokens_env, because"),
        (["gateway.address=gems.example.org:80"], "gateway.tokens: expected a file with tokens"),
        (
            ["gateway.address=[::1]:80", "gateway.tls_key=key.pem"],
            "gateway.tls_certificate: expected it together with gateway.tls_key, got one of them",
        ),
        (["roles.client.actor=a:B"], "roles.client: expected a name that the runtime does not use itself"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(flags: list[str], message: str) -> None:
    assert refusal(*flags).startswith(message)
