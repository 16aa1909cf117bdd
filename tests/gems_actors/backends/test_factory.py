"""The settings name a backend, and only that one is imported."""

from __future__ import annotations

import subprocess
import sys

import trio

from gems_actors.backends.factory import open_chat_model, open_image_model
from gems_actors.backends.storyboard import StoryboardChatModel, StoryboardImageModel
from gems_actors.config import MeshConfig


def test_without_settings_the_embedded_backend_is_opened() -> None:
    async def main() -> None:
        async with open_image_model(MeshConfig()) as painter, open_chat_model(MeshConfig(), "verifier") as chat:
            assert isinstance(painter, StoryboardImageModel)
            assert isinstance(chat, StoryboardChatModel)

    trio.run(main)


def test_no_backend_is_imported_before_it_is_opened() -> None:
    program = "import sys, gems_actors.backends.factory; print([name for name in sys.modules if 'storyboard' in name])"
    result = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
