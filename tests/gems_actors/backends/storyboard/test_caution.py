"""What is not safely understood is listed in the words of the prompt, and nothing is asked in its place."""

from __future__ import annotations

import pytest

from gems_actors.backends.storyboard.claims import ask
from gems_actors.backends.storyboard.grammar import parse_scene
from gems_actors.backends.storyboard.scene import claims_of


def questions_of(prompt: str) -> list[str]:
    scene = parse_scene(prompt)
    return [ask(claim, scene) for claim in claims_of(scene)]


@pytest.mark.parametrize(
    ("prompt", "not_asked"),
    [
        pytest.param("a lighthouse nobody lives in", "Is there a lighthouse nobody in the image?", id="nobody"),
        pytest.param("nobody is sitting on the bench", "Is the image free of people?", id="what nobody does"),
        pytest.param("a man in a room, nobody else is there", "Is the image free of people?", id="nobody else"),
        pytest.param("a man on a beach with no other people", "Is the man without any people?", id="no others"),
        pytest.param("neither the cat nor the dog is awake", "Is the image free of cats?", id="denied predicate"),
        pytest.param("no train has stopped here", "Is the image free of trains?", id="denied past"),
        pytest.param("no words can be made out", "Is the image free of texts?", id="denied view"),
        pytest.param("a plate with hardly any food", "Is the plate with the food?", id="hardly"),
        pytest.param("a car missing a wheel", "Is there a wheel in the image?", id="missing a part"),
        pytest.param("a puzzle with one piece missing", "Is there a piece in the image?", id="a part missing"),
        pytest.param("a man with a missing tooth", "Is there a tooth in the image?", id="a missing part"),
        pytest.param("a snowman who has lost his hat", "Is there a hat in the image?", id="has lost"),
        pytest.param("a dog off its leash", "Is there a leash in the image?", id="off"),
        pytest.param("a rainbow after a storm", "Is there a storm in the image?", id="after"),
        pytest.param("the memory of a summer", "Is there a summer in the image?", id="insubstantial"),
        pytest.param("a bowl with everything except bananas", "Are there any bananas in the image?", id="except"),
        pytest.param("a bun with everything but onions", "Are there any onions in the image?", id="everything but"),
        pytest.param("all of the chairs are empty except for one", "Are the chairs empty?", id="all except"),
        pytest.param("a row of lockers, all but one closed", "Is the closed locker closed?", id="all but one"),
        pytest.param("half of the eggs are cracked", "Are the eggs cracked?", id="half of"),
        pytest.param("half the windows are lit", "Are the windows lit?", id="half"),
        pytest.param("most of the cupcakes have sprinkles", "Are the cupcakes with the sprinkles?", id="most of"),
        pytest.param("the tallest of three towers is striped", "Are the towers striped?", id="superlative of"),
        pytest.param("three sisters, the tallest holding a cake", "Is the tallest holding the cake?", id="superlative"),
        pytest.param("a cat while another one waits", "Is there a wait in the image?", id="another one"),
        pytest.param("two cars, one parked near the other", "Is there a parked car in the image?", id="one parked"),
        pytest.param("a man dressed as a pirate", "Is there a pirate in the image?", id="guise"),
        pytest.param("a panda next to a panda that is sleeping", "Is the panda sleeping?", id="one more of a kind"),
        pytest.param("a bridge that a train is crossing", "Is there a crossing in the image?", id="is crossing"),
        pytest.param("golden light falls on a field", "Is there a fall in the image?", id="light falls"),
        pytest.param("the cellist's shadow falls on the wall", "Is there a fall in the image?", id="shadow falls"),
        pytest.param("sunlight filters through the blinds", "Is there a sunlight filter in the image?", id="filters"),
        pytest.param("a vase with a crack running down its side", "Is the crack running?", id="running down"),
        pytest.param("a knife rests with its blade up", "Is the knife resting with the blade?", id="rests with its"),
        pytest.param("a subtitle in smaller type reads", "Is the subtitle reading?", id="a text reads"),
        pytest.param('a shop with the words "A" taped to a door', "Is the shop taped to the door?", id="taped words"),
        pytest.param("birds arranged in a circle", "Are the birds inside the circle?", id="arranged in a shape"),
        pytest.param("a child drawing on a road with chalk", "Is the road with the chalk?", id="instrument"),
        pytest.param("a walrus playing chess with a penguin", "Is the chess with the penguin?", id="company"),
        pytest.param("a woman with a baby in a sling", "Is the woman inside the sling?", id="a held one"),
        pytest.param("a boat with sails passing a tower", "Are the sails passing the tower?", id="part or whole"),
        pytest.param("a soup with noodles and chopsticks beside it", "Is the soup with the chopsticks?", id="it"),
        pytest.param("a man shrugs a coat on a chair", "Is the coat on top of the chair?", id="object of a lost verb"),
        pytest.param("an orb, a bright star, is round", "Is there a star in the image?", id="apposition"),
        pytest.param("six birds, twice the number of cats", "Are there any cats in the image?", id="the number of"),
        pytest.param("arranged in pairs of two", "Are there any pairs in the image?", id="pairs"),
        pytest.param("a cat in the top-left corner of the frame", "Is there a frame in the image?", id="the frame"),
        pytest.param("imagine a fox", "Is there an imagine in the image?", id="imperative"),
        pytest.param("a photograph that embodies realism", "Is there an embody in the image?", id="that embodies"),
        pytest.param('a book titled "DAWN" by A. Moore', "Is there a moore in the image?", id="author"),
        pytest.param("a board with the equation E = mc2", "Is there an equation e mc in the image?", id="formula"),
        pytest.param("a 2x2 grid of photos", "Are there exactly two grids in the image?", id="grid"),
        pytest.param("a melancholic, dreamlike landscape", "Is there a melancholic in the image?", id="adjective"),
        pytest.param("a face painted in cold blues", "Are there any blues in the image?", id="plural colour"),
        pytest.param("a balloon shaped like a fig floating up", "Is the fig floating?", id="shaped like"),
        pytest.param("no dogs allowed sign", "Is the image free of dogs?", id="denied permission"),
        pytest.param("a chair with studs photographed against a wall", "Is there a wall in the image?", id="taken"),
        pytest.param("a fox and the name VULPES", "Is there a name vulpe in the image?", id="the name"),
        pytest.param("a hailstorm in July", "Is there a july in the image?", id="month"),
        pytest.param("an owl that hasn't noticed the mouse", "Is the owl not noticed?", id="not done"),
        pytest.param("all the books are closed but one", "Are the books closed?", id="closed but one"),
        pytest.param("a drone on a desk with its manual", "Is the desk with the manual?", id="with its"),
        pytest.param("a woman wraps a book in brown paper", "Is the woman inside the paper?", id="put into"),
        pytest.param("a man looking through a pipe at a comet", "Is the pipe at the comet?", id="action goes on"),
        pytest.param("a hat on a rock with hills in the background", "Is the rock with the hills?", id="view"),
        pytest.param("a fence with a hole big enough", "Is there a hole big enough in the image?", id="enough"),
        pytest.param("roses in a boot", "Are the roses wearing the boot?", id="one boot"),
        pytest.param("a jar half empty", "Is the jar empty?", id="half empty"),
        pytest.param("on an easel stands a portrait", "Is the easel standing the portrait?", id="inverted"),
        pytest.param("keine Wolken am Himmel", "Is there a keine wolken in the image?", id="another language"),
        pytest.param("a board written backwards", "Is there a backward in the image?", id="adverb"),
        pytest.param("waves frozen in mid-crash", "Is there a mid-crash in the image?", id="mid-"),
        pytest.param("swirls of teal and orange", "Is there an orange in the image?", id="colours joined"),
    ],
)
def test_nothing_is_asked_that_the_prompt_does_not_say(prompt: str, not_asked: str) -> None:
    assert not_asked not in questions_of(prompt)


@pytest.mark.parametrize(
    ("prompt", "listed"),
    [
        ("nobody is sitting on the bench", "nobody is sitting on the bench"),
        ("no one is on the swing", "no one is on the swing"),
        ("neither the cat nor the dog is awake", "neither the cat nor the dog is awake"),
        ("a car missing a wheel", "missing a wheel"),
        ("a snowman who has lost his hat", "who has lost his hat"),
        ("half of the eggs are cracked", "are cracked"),
        ("a woman with a baby in a sling", "in a sling"),
        ("a soup with noodles and chopsticks beside it", "beside it"),
        ("a castle seen from above", "seen from above"),
        ("an orb, a bright star, is round", "a bright star"),
        ('a book titled "DAWN" by A. Moore', "by A. Moore"),
        ("a panda next to a panda that is sleeping", "next to a panda that is sleeping"),
        ("a cat shrugs a coat on a chair", "on a chair"),
        ("a dog off its leash", "off its leash"),
        ("a pair of gloves, one of them inside out", "one of them inside out"),
        ("a lemon with sunglasses next to an orange without any", "without any"),
        ("a goat standing on the back of another goat", "standing on the back of"),
    ],
)
def test_what_is_passed_by_is_listed(prompt: str, listed: str) -> None:
    assert listed in parse_scene(prompt).not_understood


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("a painting of a storm hangs above the fireplace", "Is the painting of a storm hanging above the fireplace?"),
        ("the shadow of a palm tree on a wall", "Is the shadow of a palm tree on top of the wall?"),
        ("a baker whistling while his daughter watches", "Is the daughter watching?"),
        ("a birdcage with its door open", "Is the door open?"),
        ("a monk sweeping leaves, his robe orange", "Is the robe orange?"),
        ("a boy with his arms crossed", "Are the arms crossed?"),
        ("an ostrich with its head in the sand", "Is the head inside the sand?"),
        ("the younger woman's hand", "Is there a younger woman's hand in the image?"),
        ("the grandmother's glasses", "Are there any grandmother's eyeglasses in the image?"),
        ("a castle made of ice cream", "Is the castle shown made of ice cream?"),
        ("earbuds in their charging case", "Is there a charging case in the image?"),
        ("a warning label", "Is there a warning label in the image?"),
        ("a guitar case on the floor contains four coins", "Is the guitar case with the coins?"),
        ("a bear dressed in a tuxedo riding a horse", "Is the bear riding the horse?"),
        ("a waiter balancing plates on one arm", "Are the plates on top of the arm?"),
        ("a ladder on wheels", "Is the ladder with the wheels?"),
        ("a skull and wilting tulips", "Are the tulips wilting?"),
        ("two of the three doors are open", "Are there exactly two open doors in the image?"),
        ("a room with no furniture except a chair", "Is there a chair in the image?"),
        ("an empty street with nobody in sight", "Is the image free of people?"),
        ("a young man facing an older man", "Is the young man facing the older man?"),
        ("a fishing boat, and a gull on the boat", "Is the gull on top of the fishing boat?"),
        ("a poster announcing THE NIGHT OWLS", 'Does the image show the text "THE NIGHT OWLS"?'),
        ("a label that reads 100% WOOL", 'Does the image show the text "100% WOOL"?'),
        ("a neon sign saying open all day above a diner", 'Does the image show the text "open all day"?'),
        ("still life with pears", "Is the style of the image still life?"),
        ("an elephant standing on a stool in a circus", "Is the elephant inside the circus?"),
        ("a bulldog in a bathrobe reading a tablet", "Is the bulldog reading the tablet?"),
        ("a menu that says Soup of the Day", 'Does the image show the text "Soup of the Day"?'),
        ("two lighthouses", "Are there exactly two lighthouses in the image?"),
    ],
)
def test_more_of_plain_english_is_understood(prompt: str, asked: str) -> None:
    assert asked in questions_of(prompt)
