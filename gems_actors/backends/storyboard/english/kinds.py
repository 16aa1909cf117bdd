"""Kinds of things: what acts, what is worn, what is part of a body, and what carries text."""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.words import word_set

TEXT_NOUNS: Final = word_set("message text word words letters slogan title phrase name caption inscription time")
SIGN_NOUNS: Final = word_set(
    "sign signs banner poster billboard label sticker placard plaque board chalkboard blackboard whiteboard screen "
    "headline newspaper book cover card shirt t-shirt tshirt hoodie cap mug cup note letter envelope menu flag logo "
    "badge tag storefront shop store neon marquee title caption message text words word slogan graffiti tattoo cake "
    "box bottle jersey magazine flyer ticket door phone display page paper plate license ribbon sweater invitation"
)
"""Things that carry text."""
CLOTHES: Final = word_set(
    "bathrobe nightgown bikini turban veil tutu wig mask bonnet beret beanie sombrero poncho cardigan waistcoat "
    "corset boot shoe sneaker glove sandal sock slipper slippers mitten mittens stockings pajama legging pigtails "
    "curlers fedora jumpsuit tunic uniform leggings necklace suit dress shirt t-shirt coat raincoat jacket hat cap "
    "armor armour costume robe sweater hoodie jeans trousers pants shorts skirt kimono gown tuxedo boots shoes "
    "sneakers pajamas overalls vest apron scarf gloves swimsuit outfit helmet spacesuit cloak cape clothes clothing "
    "sari toga leotard blouse sandals socks"
)
PAIRED: Final = word_set("boot shoe sneaker glove sandal sock slipper mitten")
"""Clothes of which one alone is a place to be in."""
LEASHES: Final = word_set("leash lead tether wheel")
"""What `on` does not stand on: a dog on a leash."""
BODY_PARTS: Final = word_set(
    "hair eye beard moustache mustache tail ear wing arm leg hand paw face nose mouth tooth horn fur feather mane "
    "beak skin finger foot head shoulder fang claw freckle whisker braid ponytail smile tongue antler hoof trunk "
    "tusk neck knee elbow cheek eyebrow eyelash lip chest wrist toe thumb"
)
"""Parts that belong to a living thing wherever `with` stands."""
HUMANS: Final = word_set(
    "walker man woman boy girl child kid baby person people lady gentleman guy couple family knight king queen "
    "prince princess wizard witch pirate sailor soldier doctor nurse chef cook farmer fisherman astronaut artist "
    "musician dancer singer teacher student scientist clown ninja samurai viking cowboy policeman firefighter "
    "waiter waitress barista grandmother grandfather mother father brother sister twin friend bride groom superhero "
    "warrior hunter shepherd monk nun priest surfer skier runner cyclist driver daughter son wife husband uncle "
    "aunt toddler infant teenager neighbor neighbour worker gardener painter baker butcher barber tailor blacksmith "
    "carpenter rider hiker swimmer climber skateboarder skater athlete player guard guest customer vendor busker "
    "tourist traveler traveller passenger commuter pedestrian librarian scholar violinist pianist guitarist drummer "
    "ballerina acrobat magician juggler mechanic engineer pilot captain postman grandma grandpa mom dad mum crowd "
    "audience hermit emperor empress duke peasant miner lumberjack"
)
"""Heads of people."""
_CREATURES: Final = word_set(
    "robot angel mermaid fairy elf dwarf giant monster dragon unicorn dinosaur alien zombie ghost snowman dog cat "
    "puppy kitten horse cow pig sheep goat lamb rabbit mouse rat squirrel fox wolf bear lion tiger leopard cheetah "
    "elephant giraffe zebra monkey gorilla panda koala kangaroo penguin owl bird eagle parrot duck goose swan "
    "chicken rooster peacock flamingo fish shark whale dolphin octopus turtle frog snake lizard crocodile butterfly "
    "bee raccoon hedgehog deer moose camel donkey otter seal hamster skeleton"
)
"""Animals, and figures that are no people."""
ANIMATE: Final = HUMANS | _CREATURES
"""Heads of things that act by themselves."""
