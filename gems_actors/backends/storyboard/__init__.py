"""The backend that needs no GPU, no weights and no key: a planner's storyboard, and rules that read it.

It is for trying the mesh, for tests and for rehearsing a job. It says what it is on every picture. Drawer and judge
share no state: the picture is all that passes from one to the other.
"""

from gems_actors.backends.storyboard.models import StoryboardChatModel, StoryboardImageModel

__all__ = ["StoryboardChatModel", "StoryboardImageModel"]
