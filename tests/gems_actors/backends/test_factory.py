"""Only the backend that the settings name is opened and imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gems_actors.backends.factory import open_chat_model, open_image_model
from gems_actors.backends.storyboard import StoryboardChatModel, StoryboardImageModel
from gems_actors.config import MeshConfig


async def test_the_storyboard_is_the_default_backend() -> None:
    async with open_image_model(MeshConfig()) as image, open_chat_model(MeshConfig(), "verifier") as chat:
        assert isinstance(image, StoryboardImageModel)
        assert isinstance(chat, StoryboardChatModel)


@pytest.mark.slow
def test_no_backend_is_imported_before_it_is_opened() -> None:
    program = "import sys, gems_actors.backends.factory; print([name for name in sys.modules if 'storyboard' in name])"
    result = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
