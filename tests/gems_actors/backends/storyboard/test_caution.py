"""What is not safely understood is listed in the words of the prompt, and nothing is asked in its place."""

from __future__ import annotations

import pytest

from gems_actors.backends.storyboard.grammar import parse_scene
from tests.gems_actors.backends.storyboard.everyday import TABLES, asks


def read_cases() -> dict[str, tuple[str, str]]:
    """Return prompts and questions by kind, from rows `kind: prompt => question`."""
    rows = (row.partition(": ") for row in (TABLES / "not_asked.txt").read_text().splitlines())
    cases = {kind: case.partition(" => ") for kind, _, case in rows}
    return {kind: (prompt, question) for kind, (prompt, _, question) in cases.items()}


@pytest.mark.parametrize(("prompt", "not_asked"), read_cases().values(), ids=read_cases().keys())
def test_nothing_is_asked_that_the_prompt_does_not_say(prompt: str, not_asked: str) -> None:
    assert not asks(prompt, not_asked)


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
        ("a cat shrugs a coat on a chair", "shrugs a coat on …"),
        ("a dog off its leash", "off its leash"),
        ("a couple dancing in the rain without umbrellas", "without umbrellas"),
        ("two dogs, but neither wears boots", "neither wears boots"),
        ("a city that never sleeps", "that never sleeps"),
        ("a logo of a fox, orange and white, on a plain background", "orange and white"),
        ("two friends laughing together", "together"),
        ("a pair of gloves, one of them inside out", "one of them inside out"),
        ("a lemon with sunglasses next to an orange without any", "without any"),
        ("ramen topped with pork, and no leaves on the ground", "and no leaves on the ground"),
        ("a library with no books on its shelves", "with no books on its shelves"),
        ("all the balloons are red except one, which is blue", "are red except one, which is blue"),
        ("a street full of taxis, only one of which is lit", "only one of which is lit"),
        ("a pizza cut into eight slices, two of which are missing", "cut into eight slices, two of which are missing"),
        ("four bars labelled A to D", "labelled A to D"),
        ("a train leaving at half past ten", "at half past ten"),
        ("a violinist under a lamp that is not visible", "under a lamp that is not visible"),
        ("a fisherman on a pier, not looking at the camera", "not looking at the camera"),
        ("two of the puppies wear collars", "two of the puppies wear"),
        ("a goat standing on the back of another goat", "standing on the back of another goat"),
        ("a waiter serving drinks on a tray", "on a tray"),
        ("a bride and a groom, both holding balloons", "both holding balloons"),
        ("a bar chart of revenue by year", "by year"),
        ("a photo of a dog on the desk", "on the desk"),
        ("a picture of a lighthouse hanging in a hallway", "hanging in a hallway"),
        ("a statue of J. S. Bach in a park", "J. S."),
        ("a tabby cat named Mr. Whiskers on a sofa", "named Mr. Whiskers"),
        ("a room without any chairs except a stool", "without any chairs"),
        ("a parrot and a pirate with no beard", "with no beard"),
        ("a soldier on his knees", "on his knees"),
        ("a boy throwing a stick towards a dog", "towards a dog"),
        ("a half empty mug on a desk", "half empty"),
        ("an almost completely bare tree", "almost completely bare"),
        ("an old friend at a door", "old"),
        ("a bicycle with two wheels next to a car", "two"),
        ("a dog looking at itself", "looking at itself"),
        ("more than two cats on a sofa", "more than two"),
    ],
)
def test_what_is_passed_by_is_listed(prompt: str, listed: str) -> None:
    assert listed in parse_scene(prompt).not_understood


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("a painting of a storm hangs above the fireplace", "Is the painting of a storm hanging above the fireplace?"),
        ("the shadow of a palm tree on a wall", "Is the shadow of a palm tree on the wall?"),
        ("a baker whistling while his daughter watches", "Is the daughter watching?"),
        ("a birdcage with its door open", "Is the door open?"),
        ("a monk sweeping leaves, his robe orange", "Is the robe orange?"),
        ("a boy with his arms crossed", "Are the arms crossed?"),
        ("an ostrich with its head in the sand", "Is the head in the sand?"),
        ("the younger woman's hand", "Is there a younger woman's hand in the image?"),
        ("the grandmother's glasses", "Are there any grandmother's eyeglasses in the image?"),
        ("a castle made of ice cream", "Is the castle shown made of ice cream?"),
        ("earbuds in their charging case", "Is there a charging case in the image?"),
        ("a warning label", "Is there a warning label in the image?"),
        ("a guitar case on the floor contains four coins", "Does the guitar case have coins?"),
        ("a bear dressed in a tuxedo riding a horse", "Is the bear riding the horse?"),
        ("a ladder on wheels", "Does the ladder have wheels?"),
        ("a skull and wilting tulips", "Are the tulips wilting?"),
        ("two of the three doors are open", "Are there exactly two open doors in the image?"),
        ("a room with no furniture except a chair", "Is there a chair in the image?"),
        ("an empty street with nobody in sight", "Is the image free of people?"),
        ("a young man facing an older man", "Is the young man facing the older man?"),
        ("a fishing boat, and a gull on the boat", "Is the gull on the fishing boat?"),
        ("a poster announcing THE NIGHT OWLS", 'Does the image show the text "THE NIGHT OWLS"?'),
        ("a label that reads 100% WOOL", 'Does the image show the text "100% WOOL"?'),
        ("a neon sign saying open all day above a diner", 'Does the image show the text "open all day"?'),
        ("still life with pears", "Is the image a still life?"),
        ("a bulldog in a bathrobe reading a tablet", "Is the bulldog reading the tablet?"),
        ("a menu that says Soup of the Day", 'Does the image show the text "Soup of the Day"?'),
        ("two lighthouses", "Are there exactly two lighthouses in the image?"),
        ("a clock showing twenty minutes to four", "Is the clock shown showing 3:40?"),
        ("ramen topped with half an egg, three slices of pork and no seaweed", "Is the image free of seaweed?"),
        ("a bowl of green pears", "Is there a bowl of green pears in the image?"),
        ("a pair of tortoiseshell glasses", "Are there any tortoiseshell eyeglasses in the image?"),
        ("a pair of wine glasses", "Are there exactly two wine glasses in the image?"),
        ("a tan coat on a hook", "Is the coat tan?"),
        ("a sign on the ceiling", "Is the sign on the ceiling?"),
        ("two dozen roses", "Are there exactly 24 roses in the image?"),
        ("a girl on a beach, she's wearing a hat", "Is the girl wearing the hat?"),
        ("a soccer match between robots and dinosaurs", "Is the soccer match between the robots and the dinosaurs?"),
        ("a cake shaped like a guitar", "Is the cake shown shaped like a guitar?"),
        ("a pile of laundry", "Is there a pile of laundry in the image?"),
        ("two water towers", "Are there any water towers in the image?"),
        ("an energy drink can on a desk", "Is there an energy drink can in the image?"),
        ("a waiter carrying a tray with three glasses", "Does the tray have glasses?"),
        ("twenty-five candles", "Are there exactly 25 candles in the image?"),
        ("no trees, buildings or cars in sight", "Is the image free of buildings?"),
        ("a penguin couple walking hand in hand on the ice", "Is the penguin couple walking on the ice?"),
        ("a waiter dropping a tray of glasses", "Is there a tray of glasses in the image?"),
        ("a fishing rod, hiking boots and a sleeping bag", "Are there any hiking boots in the image?"),
        ("a sign that says Mr. Coffee", 'Does the image show the text "Mr. Coffee"?'),
        ("a man wearing headphones and sneakers", "Is the man wearing the sneakers?"),
        ("a flower with five petals in a vase", "Are there exactly five petals in the image?"),
        ("half a dozen oysters on ice", "Are there exactly six oysters in the image?"),
        ("a couple on a bridge, both holding umbrellas", "Is the couple holding the umbrellas?"),
        ("a dog by a lake", "Is the dog by the lake?"),
        ("a painting of a ship above a fireplace", "Is the painting of a ship above the fireplace?"),
        ("a drawing of a rocket taped to a fridge", "Is the drawing of a rocket taped to the fridge?"),
        ("a painting of a knight standing on a hill", "Is the style of the image painting?"),
        ("a portrait of a man leaning against a wall", "Is the man leaning against the wall?"),
        ("a photo of a cat on a roof", "Is the cat on top of the roof?"),
        ("Mr. Bean riding a bicycle", "Is the mr bean riding the bicycle?"),
        ("a boy looking at a T. rex skeleton", "Is the boy looking at the t-rex skeleton?"),
        ("a map of the U.S. on a wall", "Is the map on the wall?"),
        ("three dogs on a beach, none of them barking", "Are the dogs not barking?"),
        ("a train without any passengers except an old man", "Is there a man in the image?"),
        ("a woman carrying a basket on her head", "Is the basket on top of the head?"),
        ("a girl in a hat and a boy without shoes", "Is the boy without a shoe?"),
        ("a spider with eight legs on a leaf", "Are there exactly eight legs in the image?"),
        ("a snowman with a carrot nose", "Is there exactly one carrot nose in the image?"),
        ("a queen in a crown and a jester without shoes", "Is the jester without shoes?"),
        ("a slightly rusty bike", "Is there a bike in the image?"),
        ("more than two cats on a sofa", "Are the cats on the sofa?"),
        ("two cubs on an ice floe, one cub in the water", "Are there exactly two cubs in the image?"),
        ("fireworks on new year's eve", "Is the scene set on new year's eve?"),
        ("a cook peeling onions and chopping carrots", "Is the cook chopping the carrots?"),
        ("four glasses of red wine", "Are there exactly four glasses of red wine in the image?"),
        ("a still life in the style of the Dutch masters shows a jug", "Is the style of the image dutch masters?"),
        ("a red and yellow kite", "Is the kite yellow?"),
        ("a stained glass window depicting a saint", "Is there a stained glass window in the image?"),
    ],
)
def test_more_of_plain_english_is_understood(prompt: str, asked: str) -> None:
    assert asks(prompt, asked)
