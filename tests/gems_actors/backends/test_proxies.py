"""Proxies and certificates of the environment: used where they are meant, and named where they cannot be used."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import trio

from gems_actors.backends import ImageRequest
from gems_actors.backends.model_server import open_model_server
from gems_actors.backends.openai_images import open_openai_images
from gems_actors.backends.proxies import check_network, route_to
from gems_actors.config import ChatConfig, ChatServerConfig, ImageConfig, MeshConfig, RoleConfig
from gems_actors.errors import BackendError, ConfigError, RefusedError
from gems_actors.supervision.supervisor import open_agent, open_supervisor
from tests.gems_actors.backends.servers import QUICK_RETRY, Answer, ScriptedServer, drawn, open_server

FAR = "http://gpu-box.example:8000/v1"
FAR_TLS = "https://api.example.com/v1"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
BROKEN = (
    "socks4://127.0.0.1:1",
    "ftp://127.0.0.1:1",
    "http://",
    "://",
    "http://proxy:port",
    "http://proxy:99999",
    "http://[::1",
    "http://a b:3128",
)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        (FAR, {}, None),
        (FAR, {"HTTP_PROXY": "http://p:1"}, ("http://p:1", "HTTP_PROXY")),
        (FAR, {"http_proxy": "http://p:1"}, ("http://p:1", "http_proxy")),
        (FAR, {"http_proxy": "http://p:1", "HTTP_PROXY": "http://q:1"}, ("http://p:1", "http_proxy")),
        (FAR, {"http_proxy": "", "HTTP_PROXY": "http://q:1"}, None),
        (FAR, {"HTTPS_PROXY": "http://p:1"}, None),
        (FAR_TLS, {"HTTPS_PROXY": "http://p:1"}, ("http://p:1", "HTTPS_PROXY")),
        (FAR_TLS, {"HTTP_PROXY": "http://p:1", "ALL_PROXY": "http://q:1"}, ("http://q:1", "ALL_PROXY")),
        (FAR, {"all_proxy": " p:3128 "}, ("http://p:3128", "all_proxy")),
        (FAR, {"HTTP_PROXY": "p"}, ("http://p", "HTTP_PROXY")),
        (FAR, {"HTTP_PROXY": "http://me:word@p:1/"}, ("http://me:word@p:1/", "HTTP_PROXY")),
        (FAR, {"HTTP_PROXY": "http://[fd00::1]:3128"}, ("http://[fd00::1]:3128", "HTTP_PROXY")),
    ],
)
def test_the_proxy_of_an_address_is_that_of_its_variable(
    url: str, environment: dict[str, str], expected: tuple[str, str] | None
) -> None:
    assert route_to(url, environment) == expected


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.8.9.1", "localhost", "LOCALHOST", "box.localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]"],
)
@pytest.mark.parametrize("value", ["http://p:1", *BROKEN])
def test_an_address_of_this_host_needs_no_proxy_whatever_the_variables_say(host: str, value: str) -> None:
    environment = dict.fromkeys(("HTTP_PROXY", "all_proxy", "NO_PROXY"), value)
    assert route_to(f"http://{host}:8000/v1", environment) is None


@pytest.mark.parametrize(
    ("host", "entries"),
    [
        ("gpu-box.example", "gpu-box.example"),
        ("gpu-box.example", "example"),
        ("gpu-box.example", ".example"),
        ("gpu-box.example", "*.example"),
        ("gpu-box.example", "GPU-BOX.EXAMPLE"),
        ("gpu-box.example.", "gpu-box.example"),
        ("gpu-box.example", "a, b,gpu-box.example"),
        ("gpu-box.example", "a b gpu-box.example"),
        ("gpu-box.example", "*"),
        ("gpu-box.example", "gpu-box.example:8000"),
        ("gpu-box.example", "http://gpu-box.example"),
        ("10.1.2.3", "10.1.2.3"),
        ("10.1.2.3", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.99/24"),
        ("10.1.2.3", "10.1.2.3:8000"),
        ("[fd00::7]", "fd00::/8"),
        ("[fd00::7]", "fd00::7"),
        ("[fd00::7]", "[fd00::7]"),
        ("[fd00::7]", "[fd00::7]:8000"),
        ("[fd00::7]", "[fd00::]/8"),
        ("[fe80::7%25eth0]", "fe80::/10"),
    ],
)
def test_addresses_of_no_proxy_are_reached_directly(host: str, entries: str) -> None:
    assert route_to(f"http://{host}:8000/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": entries}) is None


@pytest.mark.parametrize(
    ("host", "entries"),
    [
        ("gpu-box.example", ""),
        ("gpu-box.example", ","),
        ("gpu-box.example", "box.example"),
        ("gpu-box.example", "gpu-box.example:9000"),
        ("gpu-box.example", "gpu-box"),
        ("gpu-box.example", "fd00::/8, 10.0.0.0/8"),
        ("gpu-box.example", "fd00::/999, 10.0.0.0/99, [, ], [::, ://, :, /"),
        ("10.1.2.3", "11.0.0.0/8"),
        ("10.1.2.3", "fd00::/8"),
        ("10.1.2.3", "0.1.2.3"),
        ("[fd00::7]", "[fd00::7]:9000"),
        ("[fd00::7]", "10.0.0.0/8"),
    ],
)
def test_other_addresses_take_the_proxy_also_beside_entries_that_cannot_be_read(host: str, entries: str) -> None:
    environment = {"HTTP_PROXY": "http://p:1", "no_proxy": entries}
    assert route_to(f"http://{host}:8000/v1", environment) == ("http://p:1", "HTTP_PROXY")


SETTINGS = {
    "image": MeshConfig(image=ImageConfig(backend="openai", url=FAR)),
    "gems": MeshConfig(image=ImageConfig(backend="gems", url=FAR)),
    "chat": MeshConfig(chat=ChatConfig(backend="openai", url=FAR)),
    "fallback": MeshConfig(
        chat=ChatConfig(backend="openai", url="http://127.0.0.1:1/v1", fallbacks=(ChatServerConfig(url=FAR),))
    ),
}


@pytest.mark.parametrize("config", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("value", BROKEN)
def test_a_proxy_that_cannot_be_used_is_named_with_its_variable(config: MeshConfig, variable: str, value: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"^{variable}: expected the address of a proxy such as http://HOST:3128, got"
    ):
        check_network(config, {variable: value})
    check_network(config, {variable: value, "NO_PROXY": "gpu-box.example"})
    check_network(MeshConfig(), {variable: value})


@pytest.mark.skipif(find_spec("socksio") is not None, reason="socksio is installed")
def test_a_socks_proxy_needs_a_package_and_its_password_is_not_shown() -> None:
    with pytest.raises(
        ConfigError, match=r"^ALL_PROXY: expected an HTTP proxy, or the package socksio .*\*\*\*@p:1"
    ) as e:
        check_network(SETTINGS["image"], {"ALL_PROXY": "socks5://me:word@p:1"})
    assert "word@" not in str(e.value)


def test_servers_that_no_role_of_this_host_asks_do_not_matter() -> None:
    idle = MeshConfig(
        image=ImageConfig(backend="openai", url=FAR), roles={"generator": RoleConfig(count=0)}, chat=ChatConfig()
    )
    check_network(idle, {"ALL_PROXY": "nonsense://"})


def test_certificates_that_cannot_be_used_are_named_with_their_variable(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    (tmp_path / "folder").mkdir()
    tls = MeshConfig(image=ImageConfig(backend="openai", url=FAR_TLS))
    broken = [("SSL_CERT_FILE", name) for name in ("missing.pem", "empty.pem", "folder")]
    broken += [("SSL_CERT_DIR", name) for name in ("missing", "folder", "empty.pem")]
    broken += [("SSLKEYLOGFILE", name) for name in ("missing/log", "folder")]
    for variable, name in broken:
        environment = {variable: str(tmp_path / name)}
        with pytest.raises(ConfigError, match=rf"^{variable}: expected .*{name}.* correct or unset it"):
            check_network(tls, environment)
        check_network(SETTINGS["image"], environment)  # no TLS is spoken there
    (tmp_path / "folder" / "0a1b2c3d.0").touch()
    check_network(tls, {"SSL_CERT_DIR": f"/nowhere:{tmp_path / 'folder'}"})


async def test_a_mesh_is_not_started_where_its_servers_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://p")
    with pytest.raises(ConfigError, match=r"^ALL_PROXY: .* \(image\.url is http://gpu-box\.example:8000/v1\)$"):
        async with open_supervisor(SETTINGS["image"]):
            pass
    with pytest.raises(ConfigError, match=r"^ALL_PROXY: "):
        async with open_agent(SETTINGS["chat"], "tcp://127.0.0.1:9", "host"):
            pass
    with pytest.raises(ConfigError, match=r"^ALL_PROXY: "):  # as a role that was started alone
        async with open_model_server("image", "image", SETTINGS["image"].image):
            pass


async def test_requests_take_the_proxy_and_their_failures_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    request = ImageRequest("two red cats", seed=7, width_px=64, height_px=64)
    with open_server(ScriptedServer(drawn)) as proxy:
        address = proxy.url.removesuffix("/v1")
        monkeypatch.setenv("HTTP_PROXY", address.replace("http://", "http://me:word@"))
        config = ImageConfig(backend="openai", url=FAR)
        async with open_openai_images(config, retry=QUICK_RETRY) as model:
            with trio.fail_after(20.0):
                assert (await model.generate(request)).width_px == 64
                assert proxy.asked[0][0] == f"{FAR}/images/generations"
                proxy.rule = lambda fields: Answer(b"who are you?", 407)
                through = rf"^image server at {FAR} through the proxy http://\*\*\*@127\S+ of HTTP_PROXY: answered 407"
                with pytest.raises(RefusedError, match=through):
                    await model.generate(request)
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        async with open_openai_images(config, retry=QUICK_RETRY) as model:
            with pytest.raises(
                BackendError, match=r"through the proxy http://127\.0\.0\.1:1 of HTTP_PROXY: ConnectError"
            ):
                await model.generate(request)
