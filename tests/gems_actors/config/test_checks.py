"""Settings that contradict each other, or lack one that they require, are refused."""

from __future__ import annotations

import pytest

from gems_actors.config import load_config
from gems_actors.errors import ConfigError


def refusal(*flags: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(None, {}, flags)
    return str(caught.value)


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        (["chat.backend=openai"], "chat"),
        (["chat.roles.verifier.backend=openai"], "chat.roles.verifier"),
        (["image.backend=openai"], "image"),
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
        (["roles.client.actor=a:B"], "roles.client: expected a name that the runtime does not use itself"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(flags: list[str], message: str) -> None:
    assert refusal(*flags).startswith(message)
