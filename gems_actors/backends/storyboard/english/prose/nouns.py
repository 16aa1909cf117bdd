"""Tells which nouns in prose name a thing that a picture can show, and nothing else."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gems_actors.backends.storyboard.english.adjectives import is_adjective
from gems_actors.backends.storyboard.english.kinds import (
    ANIMATE,
    BODY_PARTS,
    CLOTHES,
    SCENES,
    SEATS,
    SIGN_NOUNS,
    SUPPORTS,
)
from gems_actors.backends.storyboard.english.verbs import BASES
from gems_actors.backends.storyboard.english.vocabulary import is_abstract
from gems_actors.backends.storyboard.words import singular, word_set

_CONCRETE: Final = word_set(
    # furniture and parts of buildings
    "altar antenna aqueduct arch archway awning balustrade banister barge battlement beam biplane blind boardwalk "
    "bookcase booth brick bust cabinet candelabra candle candlestick canoe canopy capsule caravan carriage cart "
    "ceiling chandelier chimney closet cockpit column cradle crib crosswalk cupboard curb curtain cushion dam dome "
    "doormat doorway drape drawbridge drawer drone elevator escalator facade fence fireplace footstool furnace "
    "fuselage gate gateway gazebo girder glider gondola gutter hammock headboard hearth helicopter hull hut hydrant "
    "jetty kayak kiosk ladder lamppost lampshade lighthouse locomotive lorry mailbox manhole mast mattress "
    "microscope minivan mirror moat monument moped obelisk ottoman oven parapet pergola pew pickup pillar pillow "
    "plank probe propeller pulpit quay radiator raft rafter railing ramp rocket roof rover rowboat rudder satellite "
    "scaffold sconce scooter sculpture shed shopfront shutter sideboard signboard signpost silo skateboard skylight "
    "skyscraper spacecraft spire staircase stairs stairway stall statue steeple step stove streetcar streetlamp "
    "streetlight submarine tapestry telescope tile tower trailer tram trellis tricycle tugboat turret van wagon "
    "wall wallpaper wardrobe watermill wheelbarrow windmill window windowpane "
    # tools and objects
    "accordion amulet anvil arrow atlas axe ball balloon banjo banknote barrel basket bat bathtub battery beaker "
    "beehive bell birdcage birdhouse blender boiler bolt bone bouquet bow bowl bracelet bridle briefcase brooch "
    "broom bucket button cable cage calculator camera candelabrum candleholder cane cannon canvas carafe cask "
    "cauldron cello chain chalice chessboard chip chisel chopsticks circuit clarinet clipboard clock coaster cobweb "
    "coin colander collar comb compass conveyor cord crank crate crayon crutch crystal dagger decanter dial diary "
    "dice dish dishwasher doghouse doll domino drill drum dumbbell earring easel egg engine eraser faucet "
    "flashlight flask flowerpot flute folder fork freezer fridge garland gauge gear gemstone generator globe goal "
    "goblet gong grater grill guitar hairbrush hammer hamper handbag handle harness harp hatchet hinge hoe hook "
    "hoop horseshoe hose hourglass inkwell jar journal jug keg kennel kettle key keyboard kite knife knob ladle "
    "lamp lance lantern laptop leash ledger lens lever lock locket machine manuscript map marble marker medal "
    "metronome microwave mixer monitor mop motor nail napkin nest net notebook notepad padlock paintbrush painting "
    "palette parasol parchment pearl pen pencil pendant pendulum pennant photograph piano pipe pistol piston "
    "placemat planter platter pliers plug portrait postcard pot pouch printer projector pulley puppet purse puzzle "
    "quill quiver racket radio rag rake razor refrigerator reins rifle ring rope ruler sack saddle saucepan saucer "
    "saw saxophone scepter scissors screw screwdriver scroll scythe sensor shell shield shovel shower sickle sink "
    "skate ski skillet skull sled sleigh smartphone snowboard soap socket spade spatula speaker spear spiderweb "
    "sponge spoon spotlight spring staff stamp stapler stick stirrup strainer streamer suitcase surfboard switch "
    "sword tablecloth tablet tambourine tank tap teacup teapot telephone television thermos toaster toilet tongs "
    "toothbrush torch towel toy treadmill tripod trombone trophy trumpet tumbler turbine typewriter umbrella urn "
    "valve vase vial violin wallet wand watch web whisk wire wok wreath wrench yo-yo "
    # food
    "almond apple bacon bagel baguette banana basil bean beer beet biscuit blackberry blueberry bread broccoli "
    "broth bun burger butter cabbage candy carrot cauliflower celery champagne cheese cherry chestnut chocolate "
    "cinnamon cocktail coffee cookie corn crab cream croissant cucumber cupcake date dough doughnut dumpling fig "
    "flour garlic grape gravy hazelnut herb honey ice jam juice lemon lemonade lentil lettuce lime loaf lobster "
    "lollipop macaron mango melon milk mint muffin mushroom noodle olive onion orange oyster pancake parsley pasta "
    "pastry pea peach peanut pear pepper pie pineapple pistachio pizza plum popsicle potato pretzel pumpkin radish "
    "raspberry rice roll rosemary sage salad salt sandwich sauce sausage shrimp soup spinach sprinkles squash steak "
    "stew strawberry sugar sushi syrup tart tea thyme tomato turnip vanilla waffle walnut whiskey wine yogurt "
    # nature
    "acorn ash asteroid bamboo birch blossom bonfire bough boulder branch brook bubble bud bush cactus campfire "
    "cascade cloud clover comet constellation coral crater creek daffodil daisy dandelion dune ember fern fin fir "
    "flame flower footprint galaxy geyser hay haystack hedge hilltop hoofprint hydrangea iceberg icicle iris ivy "
    "kelp lagoon lava lavender leaf lightning lily log lotus maple marigold moss mountaintop nebula oak orchid palm "
    "peak pebble peony petal pincer pine pinecone plateau poppy puddle rainbow reed reef ridge riverbank rock root "
    "rose scale seaweed seed shoreline shrub snout snowbank snowdrift snowflake spark stalactite star steam stone "
    "stump succulent sun sunflower tentacle thorn tree tulip twig vine violet volcano waterfall wave wheat "
    "wildflower willow "
    # people and clothes
    "artisan backpack belt buckle craftsman craftswoman earmuffs glasses headscarf hood merchant monocle potter "
    "sash satchel shawl spectacles stationmaster stocking technician tie visor "
    # places and buildings
    "arcade canal promenade dockyard shipyard airfield helipad observatory planetarium conservatory abbey monastery "
    "convent citadel fortress pavilion rotunda amphitheater amphitheatre colosseum lounge parlor parlour pantry "
    "laundromat pharmacy bookstore hostel inn saloon tavern brewery winery sawmill quarry chateau chalet lodge cabana "
    "homestead granary barnyard paddock corral coop aviary cloister crypt mausoleum tomb waterfront wharf marina "
    "crossroads intersection roundabout overpass viaduct causeway fjord gorge ravine cove marsh bog wetland mangrove "
    "thicket glade mesa crag outcrop cavern stalagmite peninsula atoll treetop foliage rink skatepark oasis maze "
    "hangar driveway walkway pathway watchtower outpost cityscape tarmac shipwreck igloo yurt teepee wigwam ziggurat "
    "minaret belfry clocktower portcullis rampart drainpipe gutter chimneypot shingle porthole deckchair nook alcove "
    "treehouse canyon foothill rapids tideline shallows hedgerow flowerbed rockery birdbath sandbox sandpit "
    # vehicles
    "sidecar hovercraft catamaran schooner galleon frigate sloop dinghy trawler freighter blimp airship zeppelin "
    "seaplane snowmobile bulldozer excavator forklift limousine limo coupe roadster minibus camper rv toboggan "
    "funicular chairlift unicycle convertible humvee atv bobsleigh lawnmower headlight taillight windshield handlebar "
    "saddlebag oar paddleboard torpedo dashboard bumper fender hovercar bicycle stroller pram wagon "
    # instruments and machines
    "gramophone phonograph turntable cassette synthesizer xylophone marimba cymbal bongo conga maraca castanets "
    "harmonica bagpipe bagpipes sitar lyre bassoon piccolo amplifier scoreboard chainsaw magnet laser heater "
    "thermostat timer keypad extinguisher periscope sextant astrolabe kaleidoscope prism pipette centrifuge "
    "defibrillator loom anvil bellows "
    # things of a house and of daily life
    "armoire credenza chaise daybed futon bassinet barstool beanbag mat rack mannequin lectern stepladder blade rail "
    "pedal wastebasket ashtray basin binder brochure passport blueprint diploma receipt certificate clothesline "
    "hairpin hairband paperweight corkscrew lunchbox dollhouse encyclopedia tome sketchbook cookbook storybook "
    "thumbtack highlighter mousetrap corkboard doorknob doorbell whistle flagpole cairn ornament mural canister "
    "cartridge tarp strap cigar chopstick binoculars windsock pinwheel snowglobe terrarium fishbowl fossil tumbleweed "
    "driftwood baseball football shuttlecock puck barbell trampoline longsword katana cleaver revolver scalpel halo "
    "handgun weapon cube cone sphere tablecloth dumpster tissue bathmat showerhead potholder trivet colander cruet "
    # food
    "scone marshmallow smoothie omelet quiche ravioli hummus guacamole salsa pesto tofu kimchi sashimi naan pita "
    "tortilla quesadilla nachos eclair gelato sorbet custard cheesecake gingerbread fudge caramel cappuccino martini "
    "margarita sangria nectarine pomegranate guava lychee persimmon clementine grapefruit cantaloupe plantain rhubarb "
    "leek scallion shallot zucchini okra yam parsnip artichoke asparagus kale pecan cashew crouton ketchup mustard "
    "syrup sprig "
    # sea animals
    "catfish barracuda tuna trout herring guppy nautilus cuttlefish urchin anemone scallop "
    # what people wear
    "bracelet anklet choker cufflink lanyard holster scabbard gauntlet breastplate chainmail headdress headpiece "
    "bodysuit sarong kaftan yukata hanbok dirndl suspenders shoelace hairnet snorkel mascara "
    # further things
    "rod rim "
    "clearing stripe tire hubcap album stand figurine gargoyle terminal "
    "wok habitat crate silo poplar acacia egret gauge bunk "
    "abacus aeroplane aircraft airliner airplane ambulance amphora anchor apricot automobile avocado bag baggage "
    "bandage barley barricade basketball battleship bead beads beef beetroot bicycle bike bin boar boat bonsai "
    "bookmark bookshop boomerang broomstick brownie brush budgie bug bugle building bulb bullhorn bungalow buoy "
    "burrito bus cab calendar camcorder car carousel carton casket cattle cellphone cereal chapel cherub cigarette "
    "citrus clam clapperboard clownfish cob cobblestone cobblestones cockroach coconut coffin cog computer conch "
    "confetti conifer console courgette courthouse cracker crane crayfish crepe crumb crust cuff curry cutlery "
    "cygnet dart dartboard diamond document dodo donut droplet drumstick dustbin earphone eggplant emerald entrance "
    "espresso extraterrestrial eyeglasses farmhouse ferry fiddle firecracker firetruck firewood firework fireworks "
    "flatbread foliage fondue fort fortress fountain fries fruit gamepad gearwheel gem genie gift ginger glass "
    "grain grave gravestone gun ham hamburger handrail hatchback headset headstone heel hibiscus hog hologram "
    "hotdog hotel houseplant hyacinth icon jeep jet jewel jewelry jigsaw joystick jukebox knapsack knot lapel "
    "lasagna latte ledge letterbox lid lifebuoy lightbulb lilac lipstick loafer longbow loudspeaker lounger "
    "loveseat luggage lute mallet mandolin mansion meatball medusa megaphone metropolis mic microphone milkshake "
    "missile mojito monorail motel motorbike motorboat motorcycle motorway mussel needle newborn notepaper novel "
    "nut oboe omelette orb overcoat package paddle pagoda pail pan panel papaya paperclip parachute parcel passerby "
    "pawn pickaxe pickle piglet pin plane plant pocket pod pole police popcorn porpoise portal potion prawn pudding "
    "pump pyramid racecar railroad railway raindrop ramen recliner recorder rickshaw rollerskate ruin ruins rune "
    "sail sailboat salmon sandcastle sapling sardine schoolbag seashell seat sedan seedling serpent settee shack "
    "ship shrine skewer skyline sledge sleeve smokestack snowball soda spaghetti spanner speedboat sprout spruce "
    "stem stethoscope stiletto stopwatch straw sundae suv syringe taco tangerine taxi teaspoon textbook thermometer "
    "thread toadstool toast tombstone tool toolbox track tractor train trident trolley trowel truck tub tuba tube "
    "turkey tv ufo ukulele vegetable vehicle vessel villa viola volleyball watermelon wheel wheelchair wool "
    "workbench yacht yarn"
)
_UNSURE: Final = word_set(
    "ash bar batter beast caption chest coach cook cover cricket display ember eye face fair fan festival figure "
    "finger flame fog foot goal ground guy head headline home host hound iris judge key landscape letter lip lover "
    "message mint mouth nose owner paper pet pitcher port rain sage slogan smile snow space spark spring squash "
    "stage step steps switch text title tooth trunk water word words youth"
)
"""Nouns with another meaning, or of something that need not have a shape."""
_NOUNS: Final = (_CONCRETE | ANIMATE | BODY_PARTS | CLOTHES | SCENES | SEATS | SIGN_NOUNS | SUPPORTS) - _UNSURE


_PERSON_ENDS: Final = ("man", "woman", "maker", "keeper", "smith")
_EXCEPTIONS: Final = word_set(
    "consist persist assist whist minimalist surrealist checklist playlist shortlist wishlist human cardboard "
    "cartwheel checkerboard aboard"
)
_HEADS: Final = (
    *("house", "boat", "board", "bag", "box", "ball", "fish", "bird", "berry", "cake", "chair", "pot", "cup"),
    *("wheel", "plane", "coat", "tree", "horse", "bell", "stick", "basket", "post", "bridge", "lamp"),
)
"""Nouns that end the names of many things that are written as one word."""


@lru_cache(maxsize=4096)
def is_concrete(noun: str) -> bool:
    """Return whether a noun, in the singular or plural, names a thing that a picture can show, and nothing else."""
    one = singular(noun)
    is_known = one in _NOUNS or noun in _NOUNS or _is_person(one) or _is_joined(one)
    return is_known and not is_abstract(noun) and one not in _UNSURE


def _is_person(noun: str) -> bool:
    """Return whether the ending of a noun names a person: `watchmaker`, `optometrist`."""
    if noun in _EXCEPTIONS or is_adjective(noun):
        return False
    if noun.endswith(_PERSON_ENDS) and len(noun) > 6:
        return True
    return noun.endswith("ist") and len(noun) > 5


def _is_joined(noun: str) -> bool:
    """Return whether a noun is written as one word with a known noun at its end: `treehouse`, `fishbowl`."""
    end = next((end for end in _HEADS if noun.endswith(end)), "")
    return bool(end) and len(noun) >= len(end) + 3 and not is_adjective(noun) and noun not in BASES | _EXCEPTIONS
