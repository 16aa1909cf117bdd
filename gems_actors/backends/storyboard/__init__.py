"""The built-in image and chat models, without GPU, weights or key: drawn storyboards, and rules that read them.

For trying out the mesh, for tests and for dry runs; every picture is labelled as a storyboard. The drawing side and the
judging side share no state: only the picture passes between them. Calls of real models must not live here.
"""

from gems_actors.backends.storyboard.models import StoryboardChatModel, StoryboardImageModel

__all__ = ["StoryboardChatModel", "StoryboardImageModel"]
