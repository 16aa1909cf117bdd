"""Kinds of things: what acts, what is worn, what is part of a body, and what carries text."""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.words import word_set

TEXT_NOUNS: Final = word_set("message text word words letters slogan title phrase name caption inscription time")
SIGN_NOUNS: Final = word_set(
    "sign signs banner poster billboard label sticker placard plaque board chalkboard blackboard whiteboard "
    "screen headline newspaper book cover card shirt t-shirt tshirt hoodie cap mug cup note letter envelope menu "
    "flag logo badge tag storefront shop store neon marquee title caption message text words word slogan graffiti "
    "tattoo cake box bottle jersey magazine flyer ticket door phone display page paper plate license ribbon "
    "sweater invitation"
)
"""Things that carry text."""
CLOTHES: Final = word_set(
    "bathrobe nightgown bikini turban veil tutu wig mask bonnet beret beanie sombrero poncho cardigan waistcoat "
    "corset boot shoe sneaker glove sandal sock slipper slippers mitten mittens stockings pajama legging pigtails "
    "curlers fedora jumpsuit tunic uniform leggings necklace suit dress shirt t-shirt coat raincoat jacket hat "
    "cap armor armour costume robe sweater hoodie jeans trousers pants shorts skirt kimono gown tuxedo boots "
    "shoes sneakers pajamas overalls vest apron scarf gloves swimsuit outfit helmet spacesuit cloak cape clothes "
    "clothing sari jersey parka kilt turtleneck sweatshirt polo blazer romper dungarees breeches anorak "
    "windbreaker loincloth pullover cowl eyeglasses sunglasses goggles headphones eyepatch bandana headband crown "
    "tiara bowtie necktie wetsuit onesie toga leotard blouse sandals socks "
    "shawl sash headscarf sarong kaftan yukata hanbok dirndl suspenders bodysuit headdress beanie jumpsuit tailcoat"
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
LIMBS: Final = word_set("hand paw foot finger elbow knee claw hoof arm leg toe")
"""Parts of a body that may be somewhere else than the rest of it: `with one hand on the rail`."""
HUMANS: Final = word_set(
    "walker man woman boy girl child kid baby person people lady gentleman guy couple family knight king queen prince "
    "princess wizard witch pirate sailor soldier doctor nurse chef cook farmer fisherman astronaut artist musician "
    "dancer singer teacher student scientist clown ninja samurai viking cowboy policeman firefighter waiter waitress "
    "barista grandmother grandfather mother father brother sister twin friend bride groom superhero warrior hunter "
    "shepherd monk nun priest surfer skier runner cyclist driver daughter son wife husband uncle aunt toddler infant "
    "teenager neighbor neighbour worker gardener painter baker butcher barber tailor blacksmith carpenter rider hiker "
    "swimmer climber skateboarder skater athlete player guard guest customer vendor busker tourist traveler traveller "
    "passenger commuter pedestrian librarian scholar violinist pianist guitarist drummer ballerina acrobat magician "
    "juggler mechanic engineer pilot captain postman grandma grandpa mom dad mum crowd audience hermit emperor empress "
    "duke peasant miner lumberjack professor writer poet author actor actress director photographer filmmaker "
    "architect designer sculptor weaver jeweler cellist trumpeter saxophonist conductor composer bassist dj rapper "
    "choir orchestra bartender bellhop butler maid janitor cleaner lifeguard ranger zookeeper beekeeper gatekeeper "
    "shopkeeper innkeeper goalkeeper keeper jogger opponent newsboy newsgirl striker rival teammate comedian referee "
    "umpire coach boxer wrestler gymnast archer fencer swordsman swordswoman sprinter golfer bowler batter pitcher "
    "quarterback snowboarder biker motorcyclist jockey cowgirl rancher fisher sheriff detective spy thief burglar "
    "bandit prisoner judge lawyer senator president mayor minister pope bishop druid sorcerer sorceress mage "
    "enchantress alchemist gladiator mercenary assassin rogue bard paladin barbarian geisha maiden damsel nobleman "
    "noblewoman courtier jester squire villager settler explorer archaeologist paleontologist astronomer chemist "
    "biologist botanist geologist surgeon dentist paramedic veterinarian vet pharmacist electrician plumber welder "
    "builder roofer bricklayer foreman trucker courier mailman milkman businessman businesswoman executive secretary "
    "receptionist accountant banker cashier clerk salesman salesperson shopper diver snorkeler mountaineer trekker "
    "camper backpacker pilgrim wanderer hitchhiker nomad grandson granddaughter grandparent parent cousin nephew niece "
    "sibling bridesmaid spouse lover newlywed schoolboy schoolgirl teen adult elder senior youth youngster tween "
    "protagonist hero heroine villain superheroine figure character stranger bystander onlooker spectator fan visitor "
    "host hostess trainer assistant owner policewoman firewoman officer cop guardian sentry bodyguard fortune-teller "
    "psychic mime stuntman cheerleader adventurer historian attendant florist instructor curator politician "
    "storyteller doorman batsman researcher inventor reporter apprentice employee performer volunteer shaman "
    "prospector masseuse goalie porter barmaid salaryman teammate bandleader trombonist watchmaker collector"
)
"""Heads of people."""
_CREATURES: Final = word_set(
    "robot angel mermaid fairy elf dwarf giant monster dragon unicorn dinosaur alien zombie ghost snowman dog cat "
    "puppy kitten horse cow pig sheep goat lamb rabbit mouse rat squirrel fox wolf bear lion tiger leopard "
    "cheetah elephant giraffe zebra monkey gorilla panda koala kangaroo penguin owl bird eagle parrot duck goose "
    "swan chicken rooster peacock flamingo fish shark whale dolphin octopus turtle frog snake lizard crocodile "
    "butterfly bee raccoon hedgehog deer moose camel donkey otter seal hamster skeleton android cyborg golem "
    "troll goblin ogre orc gnome imp demon devil vampire werewolf mummy centaur minotaur phoenix griffin gryphon "
    "pegasus sphinx kraken yeti bigfoot sasquatch scarecrow snowwoman teddy creature beast animal pet hound "
    "terrier bulldog poodle corgi dachshund beagle husky labrador retriever shepherd pug chihuahua dalmatian "
    "greyhound spaniel collie pup tabby kitty tomcat cub calf foal pony colt stallion mare mule bull ox buffalo "
    "bison yak llama alpaca hare bunny chipmunk beaver badger weasel ferret skunk mole porcupine opossum sloth "
    "anteater armadillo meerkat mongoose hyena jackal coyote lynx bobcat cougar puma panther jaguar ocelot "
    "orangutan chimpanzee chimp baboon lemur ape walrus manatee orca hippo hippopotamus rhino rhinoceros antelope "
    "gazelle elk reindeer stag doe fawn crow raven magpie jay robin sparrow finch canary pigeon dove seagull gull "
    "pelican heron stork ibis egret hawk falcon vulture condor osprey woodpecker hummingbird kingfisher toucan "
    "cockatoo macaw ostrich emu hen chick duckling gosling puffin albatross goldfish koi carp stingray eel "
    "seahorse jellyfish starfish squid snail slug toad salamander newt gecko iguana chameleon alligator tortoise "
    "python cobra viper dino t-rex raptor spider tarantula scorpion ant beetle ladybug grasshopper cricket mantis "
    "dragonfly moth caterpillar worm wasp bumblebee firefly mosquito axolotl platypus capybara "
    "marmoset mandrill gibbon okapi tapir wombat wallaby echidna dingo warthog beluga narwhal pufferfish swordfish "
    "lionfish oriole thrush starling wren lark nightingale cuckoo pheasant quail grouse partridge cassowary "
    "kookaburra sandpiper sheepdog rattlesnake anaconda lioness mastiff rottweiler whippet collie"
)
"""Animals, and figures that are no people."""
ANIMATE: Final = HUMANS | _CREATURES
"""Heads of things that act by themselves."""

INERT: Final = ("hot dog", "gummy bear", "computer mouse", "paper crane", "bull's eye", "clock face", "chicken wing")
"""Ends of names that neither act nor are parts of a body, although their last word alone would."""

SCENES: Final = word_set(
    "mars venus jupiter saturn room bedroom bathroom kitchen hall hallway corridor lobby attic basement cellar garage "
    "office classroom library museum gallery theater theatre cinema stadium arena gym church cathedral temple mosque "
    "shop store bakery cafe café restaurant diner bar pub supermarket market bazaar mall hospital laboratory lab "
    "workshop studio factory warehouse barn stable farm greenhouse courtyard yard backyard garden park playground "
    "field meadow pasture prairie savanna savannah forest woods woodland jungle rainforest desert beach shore coast "
    "seaside harbor harbour port dock pier lake pond river stream ocean sea swamp marsh island mountain mountains "
    "hill hillside valley canyon cave cliff glacier tundra landscape city town village street road alley alleyway "
    "avenue highway sidewalk pavement plaza square station subway airport runway rooftop terrace balcony patio porch "
    "bridge tunnel space sky circus carnival fair festival campsite vineyard orchard cornfield ballroom castle palace "
    "dungeon house home apartment cabin cottage tent igloo spaceship moon planet underwater graveyard cemetery zoo "
    "aquarium casino countryside neighborhood boulevard lawn lane path trail snow rain fog mist water"
)
"""Places that everything in a clause is in, whichever of its things they are said of."""
BUILDINGS: Final = word_set(
    "church cathedral temple mosque factory warehouse barn tunnel bridge castle palace house home apartment cabin "
    "cottage tent igloo spaceship"
)
ROOMS: Final = word_set(
    "room bedroom bathroom kitchen hall hallway corridor lobby attic basement cellar garage office classroom library "
    "museum gallery theater theatre cinema gym shop store bakery cafe café restaurant diner bar pub supermarket mall "
    "laboratory lab workshop studio subway ballroom casino"
)
"""Scenes that pictures hang in."""
AMBIENT: Final = word_set("sun wind breeze gale gust storm thunderstorm sandstorm blizzard drizzle heat light weather")
"""Light and weather: what is in them is inside no thing."""
VEHICLES: Final = word_set(
    "car truck bus van train tram bike bicycle motorcycle scooter boat ship sailboat canoe yacht plane airplane "
    "helicopter rocket tractor carriage wagon sled taxi ambulance "
    "trailer caravan minivan pickup lorry suv jeep"
)
COLLECTIVES: Final = word_set("couple pair duo trio family crowd band team group audience choir orchestra class crew")
"""One name of several people."""
CHARTS: Final = word_set("chart graph plot diagram histogram infographic")
SUPPORTS: Final = word_set(
    "table desk shelf counter countertop windowsill sill floor ground carpet rug bench chair sofa couch bed stool "
    "pedestal stage podium nightstand dresser mantel mantelpiece tabletop grass sand tray blanket bookshelf"
)
"""What smaller things stand or lie on."""
SEATS: Final = word_set(
    "bench chair armchair sofa couch bed stool ground floor grass rug carpet blanket sand stage steps throne swing"
)
"""Supports that somebody sits, stands or lies on, and not what is held."""
CONTAINERS: Final = word_set(
    "tray basket bowl plate box bag cup mug jar glass cake pizza sandwich salad vase bucket bottle pot cart crate"
)
"""Things that `with` says what is in or on."""

SUBSTANCES: Final = word_set(
    # weather and nature
    "snow slush hail sleet frost rain drizzle fog mist haze smoke steam vapor vapour air water ice sky ground sand "
    "dust mud soil dirt earth gravel lava magma moss lichen algae seaweed kelp grass foliage greenery vegetation "
    "undergrowth ivy dew driftwood firewood shrubbery sunlight sunshine moonlight starlight daylight lightning thunder "
    "foam surf seawater snowfall rainfall "
    # materials
    "bronze copper brass steel marble granite concrete asphalt cement plaster cardboard plastic rubber fabric "
    "denim bamboo yarn twine confetti silk velvet lace wool cotton fur hair skin wax glitter tinsel foil slime goo "
    "blood soot ash paint ink gasoline petrol soap "
    # food
    "food meat beef pork bacon ham seafood caviar tofu sushi rice pasta spaghetti ramen couscous quinoa oatmeal "
    "porridge granola cereal bread toast dough flour sugar salt butter margarine cream syrup honey jam marmalade "
    "ketchup mustard mayonnaise mayo sauce gravy vinegar oil frosting icing caramel fudge popcorn lettuce spinach kale "
    "arugula celery asparagus garlic ginger basil parsley cilantro coriander mint thyme rosemary oregano dill "
    "cinnamon vanilla hummus guacamole salsa wheat barley milk broth "
    # what there are many of under one name
    "armor armour attire clothing swimwear furniture jewelry jewellery luggage baggage equipment machinery pottery "
    "glassware cutlery silverware graffiti signage scaffolding laundry trash garbage rubbish litter debris rubble "
    "wreckage traffic makeup underwear lingerie money cash cattle livestock poultry wildlife text lettering calligraphy"
)
"""Nouns of what is not counted: `any snow`."""
SERVINGS: Final = word_set(
    "coffee tea beer wine champagne juice lemonade soda cola whiskey vodka rum cocoa soup stew curry cheese yogurt "
    "chocolate candy fruit cabbage broccoli cauliflower corn pepper salad pineapple avocado onion cucumber zucchini "
    "eggplant mushroom mango coconut squash breakfast lunch dinner brunch supper glue art pepperoni"
)
"""Nouns of what is not counted, except for portions of it: `any coffee`, `two coffees`."""
MATERIALS: Final = word_set(
    "stone glass metal plastic brick paper steel marble clay granite bronze copper brass iron concrete leather velvet "
    "silk cotton porcelain rubber cardboard"
)
"""Nouns that say what a thing is made of."""
PART_OWNERS: Final = (
    (
        word_set("wheel sail pedal propeller engine mast headlight tire spoke"),
        VEHICLES | word_set("robot cart wheelchair skateboard windmill drone"),
    ),
    (word_set("window door chimney tower turret column pillar roof"), BUILDINGS | VEHICLES),
    (word_set("petal leaf branch"), word_set("flower rose tulip sunflower daisy lily tree bush plant orchid bouquet")),
)
"""Parts, and what else may have them."""
DETAILS: Final = word_set("handle button string drawer shelf board plank knob lens strap pocket antenna")
"""Parts of many things that do not act."""
PARTS: Final = BODY_PARTS | DETAILS.union(*(parts for parts, _ in PART_OWNERS))

GAMES: Final = word_set(
    "chess checkers poker bingo soccer football basketball volleyball baseball softball tennis hockey golf rugby "
    "badminton ping-pong croquet cricket"
)
"""Nouns of games, which have no article where they are played: `playing chess`."""


def is_substance(name: str) -> bool:
    """Return whether a name is that of a substance or a mass, of which there is no single one: `maple syrup`."""
    words = name.partition(" of ")[0].split()
    return words[-1] in SUBSTANCES and words[-2:] != ["ice", "cream"]


def is_uncounted(name: str) -> bool:
    """Return whether a name takes no article unless it is counted: `orange juice`."""
    return is_substance(name) or name.partition(" of ")[0].split()[-1] in SERVINGS | {"cream"}
