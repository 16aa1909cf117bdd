"""Withdraws colours that several things share out among them."""

from __future__ import annotations

from dataclasses import replace

from gems_actors.backends.storyboard.scene import Scene
from gems_actors.backends.storyboard.words import COLOURS


def without_shared_colours(scene: Scene) -> Scene:
    """Return the scene without several colours of one plural: of `blue and violet lilies`, not each is both."""
    for thing in scene.things:
        other = tuple(word for word in thing.attributes if word not in COLOURS)
        if scene.is_plural(thing.name) and len(thing.attributes) - len(other) > 1:
            scene = scene.with_thing(replace(thing, attributes=other))
    return scene
