"""Word classes of plain English, as far as prompts need them: tables and spelling rules, no statistics."""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.english.adjectives import ADJECTIVES, is_adjective
from gems_actors.backends.storyboard.words import colour_of, is_participle, surface_of


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS: Final = _words("a an the this that these those his her its their my our your another each every any")
POSSESSIVES: Final = _words("his her its their my our your")
LOOSE_COUNTS: Final = dict.fromkeys(("several", "multiple", "various"), 4) | (
    {"some": 3, "few": 3, "many": 6, "numerous": 6, "both": 2}
)
MEASURES: Final = dict.fromkeys(
    _words(
        "group bunch set row herd flock pack collection pile stack crowd line team number series swarm pod school "
        "heap cluster dozens lots plenty variety assortment array"
    ),
    4,
) | {"pair": 2, "couple": 2, "trio": 3}
"""Words before `of` that say how many, and how many are drawn; only up to three are a requirement."""

INDEFINITES: Final = _words("nobody no-one someone somebody everyone everybody anyone anybody")
COPULAS: Final = _words("is are was were be been being am 's")
NEGATIONS: Final = _words(
    "not never isn't aren't wasn't weren't doesn't don't didn't cannot can't won't hasn't haven't"
)
NEGATIVE_COPULAS: Final = _words("isn't aren't wasn't weren't")
ABSENCES: Final = _words("no without lacking lacks minus neither devoid sans")
MISSING: Final = _words("missing absent gone nowhere")
"""What is so is named, and yet not in the picture."""
WRITING: Final = _words("text texts words letters writing lettering captions")
FUNCTION_WORDS: Final = (
    DETERMINERS
    | COPULAS
    | NEGATIONS
    | ABSENCES
    | _words(
        "and or but nor so yet if then than as while when where who whom whose which what there here it they them "
        "he she we you i him us himself herself itself themselves have has had having do does did will would can "
        "could may might must should of to for from by with at in on into onto upon over under off up down out "
        "about like per via through between near also just only both either all one ones other others please make "
        "sure ensure create draw generate render show shows showing depict depicts depicting feature features "
        "featuring contain contains containing include includes including image picture photo photograph exactly "
        "precisely together very own plus next adjacent alongside beside above below behind inside within "
        "underneath beneath atop along around against across toward towards outside past among beyond scene "
        "capture how why let let's exist exists depicted displayed captured portrayed rendered presented featured "
        "seen shown visible placed positioned set located arranged"
    )
)
"""Words that are no requirement by themselves, so that they need not be understood."""
BREAKERS: Final = FUNCTION_WORDS - DETERMINERS - _words("image picture photo photograph scene set one ones") | _words(
    "nobody no-one someone somebody everyone everybody anyone anybody "
    "because during before after until since away instead rather except besides says say reads read saying reading "
    "labeled labelled titled called named entitled"
)
"""Words at which a noun phrase ends."""
PRONOUNS: Final = _words("it they them he she him")
CONJUNCTIONS: Final = _words("and or but while as then plus yet")

JOINTS: Final = _words(", and or but while as then plus nor")
HAVING: Final = _words("has have having had featuring features containing contains")
SAYING: Final = _words(
    "states state stating announces announcing bears bearing says say saying reads read reading spells spelling "
    "titled labeled labelled entitled called named"
)
TEXT_NOUNS: Final = _words("message text word words letters slogan title phrase name caption inscription time")
SIGN_NOUNS: Final = _words(
    "sign signs banner poster billboard label sticker placard plaque board chalkboard blackboard whiteboard screen "
    "headline newspaper book cover card shirt t-shirt tshirt hoodie cap mug cup note letter envelope menu flag logo "
    "badge tag storefront shop store neon marquee title caption message text words word slogan graffiti tattoo cake "
    "box bottle jersey magazine flyer ticket door phone display page paper plate license ribbon sweater invitation"
)
"""Things that carry text."""

CLOTHES: Final = _words(
    "bathrobe nightgown bikini turban veil tutu wig mask bonnet beret beanie sombrero poncho cardigan waistcoat "
    "corset boot shoe sneaker glove sandal sock slipper slippers mitten mittens stockings pajama legging pigtails "
    "curlers fedora jumpsuit tunic uniform leggings necklace suit dress shirt t-shirt coat raincoat jacket hat cap "
    "armor armour costume robe sweater hoodie jeans trousers pants shorts skirt kimono gown tuxedo boots shoes "
    "sneakers pajamas overalls vest apron scarf gloves swimsuit outfit helmet spacesuit cloak cape clothes clothing "
    "sari toga leotard blouse sandals socks"
)

_VERBS: Final = _words(
    "die eat sit hold wear ride carry chase stand lie fly jump run walk play read write draw paint cook bake hug "
    "kiss push pull throw catch kick climb swim sleep rest lean hang fall float drive sail row fight attack follow "
    "lead feed drink pour look watch stare gaze point reach touch pet hunt dig bite lick smell sniff sing dance "
    "laugh smile cry shout yell whisper talk speak listen wave clap bow kneel crawl hop leap skip march race surf "
    "ski skate dive splash fish build repair fix clean wash sweep open close cut chop slice stir mix serve sell buy "
    "give hand offer show deliver pick plant water grow bloom shine glow burn melt freeze rise set land hover soar "
    "glide perch nest hide peek emerge cross pass enter leave approach surround cover fill face overlook examine "
    "inspect study teach learn type press hit break tear wrap tie lift raise drop hatch guard protect embrace "
    "cuddle balance juggle spin twirl blow gallop graze howl bark roar purr yawn wait work knit sew weave comb "
    "brush shave conduct perform celebrate pray meditate think dream wink grin use bring take put make weld hammer "
    "polish roll slide swing bounce dangle drip spill crash explode orbit explore travel wander stroll jog sprint "
    "cycle camp shop visit meet greet shake salute"
)
_NOUNS_MOSTLY: Final = _words(
    "roll bite press pass cross spill crash leave plant park train box rock sign face fire water fish nest land set "
    "hand race row ride look dance work camp shop watch drink cut type guard bow wave cover swing drop slice point "
    "hammer comb brush lead step show light"
)
"""Verbs whose forms are nouns more often: they count as verbs only before an article."""
_DOUBLED: Final = _words(
    "sit run swim hug cut hit put set get dig jog skip hop clap wrap pet stir grin spin nap drip drop shop knit hum"
)
_IRREGULAR_PAST: Final = (
    "sat:sit ate:eat held:hold wore:wear rode:ride stood:stand flew:fly ran:run drew:draw threw:throw caught:catch "
    "swam:swim slept:sleep drove:drive fought:fight fed:feed drank:drink sang:sing gave:give took:take blew:blow"
)


def _participle_of(verb: str) -> str:
    """Return `riding` for `ride`, `sitting` for `sit`, `lying` for `lie`."""
    if verb.endswith("ie"):
        return f"{verb[:-2]}ying"
    if verb in _DOUBLED:
        return f"{verb}{verb[-1]}ing"
    return f"{verb[:-1] if verb.endswith('e') and not verb.endswith('ee') else verb}ing"


def _third_person_of(verb: str) -> str:
    if verb.endswith(("ch", "sh", "ss", "x", "zz")):
        return f"{verb}es"
    return f"{verb[:-1]}ies" if verb.endswith("y") and verb[-2] not in "aeou" else f"{verb}s"


SINGULAR_VERBS: Final = {_third_person_of(verb): _participle_of(verb) for verb in _VERBS}
PLURAL_VERBS: Final = {verb: _participle_of(verb) for verb in _VERBS}
PAST_VERBS: Final = {
    past: _participle_of(verb) for past, _, verb in (pair.partition(":") for pair in _IRREGULAR_PAST.split())
}
NOUNS_MOSTLY: Final = _NOUNS_MOSTLY | {_third_person_of(verb) for verb in _NOUNS_MOSTLY}
TRANSFERS: Final = _words("throwing giving handing selling showing offering serving feeding tossing passing kicking")
"""Actions that a second object with `to` or `at` belongs to."""
PARTICLES: Final = _words("to for off up from into onto out at down over away of")

ATTACHING: Final = _words("with without wearing holding carrying having")
"""Relations after which the sentence goes on about their subject: `a man in a suit holding a hat`."""
SHARING: Final = ATTACHING | frozenset(
    ("eating", "full of", "filled with", "covered with", "covered in", "decorated with", "topped with", "surrounded by")
)
"""Relations that the members of a list share: `wearing a hat and a scarf`."""
AGENT_PLACES: Final = _words("in at along across through around outside inside on beside near by against past")
"""Prepositions that after a verb and its object say where the action takes place."""

COMPARATIVES: Final = _words(
    "bigger smaller larger taller shorter longer older younger higher lower wider thinner thicker heavier lighter "
    "darker brighter faster slower closer"
)
_PAST_PARTICIPLES: Final = _words(
    "stuck bound fed led laid sold bitten ridden driven stolen slung struck strewn swollen taken eaten chosen clad "
    "caught made seen built drawn cut set hung held worn torn broken frozen written woven lit shown split bent "
    "grown blown thrown hidden fallen sewn handwritten carved spun strung swept dug known tied iced used lost"
)
"""Irregular participles; `set` and `seen` need a preposition."""
_COLOURED_THINGS: Final = _words("orange orange olive lime violet lavender gold silver emerald ivory cream aqua")
COMPOUNDS: Final = _words(
    "blue-jay red-panda black-hole black-widow olive-oil olive-tree olive-branch orange-juice orange-tree "
    "orange-peel trash-can garbage-can tin-can soda-can beer-can spray-can hot-dog polar-bear teddy-bear hot-air "
    "wild-boar stuffed-animal french-fries fried-egg hard-hat high-heel light-bulb light-house golden-retriever "
    "grizzly-bear living-room dining-table dining-room rocking-chair washing-machine swimming-pool sleeping-bag "
    "frying-pan shooting-star flying-saucer parking-meter cutting-board baking-tray running-shoe walking-stick "
    "fishing-boat fishing-rod sewing-machine boxing-glove racing-car wedding-cake ice-cream light-switch first-aid "
    "soft-toy sweet-potato double-decker traffic-light lawn-mower carving-knife open-air full-moon old-town "
    "watering-can drinking-fountain vending-machine shopping-cart shopping-bag sailing-boat spinning-wheel "
    "measuring-tape stepping-stone hiking-boot riding-hood knitting-needle whipped-cream high-school high-chair "
    "high-rise wine-glass reading-glasses magnifying-glass safety-glasses"
)
"""Compound nouns that begin with what is otherwise an adjective, a material or a participle."""
PURPOSES: Final = _words(
    "rowing sailing warning charging camping dining cooking sewing hiking fishing boxing baking gardening drinking "
    "writing reading swimming running walking riding climbing knitting painting measuring mixing serving waiting "
    "landing"
)
"""Participles that before a thing which does not act name its purpose: `a warning label` warns of nothing yet."""
INTRANSITIVE: Final = _words(
    "wilting blooming glowing burning falling floating sleeping smiling shining melting drooping rotting flickering "
    "swaying flying rising withering crumbling laughing crying sparkling shimmering twinkling boiling steaming "
    "smoking"
)
"""Participles without an object: before a noun they are its attributes."""
PASSED_VERBS: Final = _words(
    "filters seeps trickles ripples glitters twinkles mingles clashes tilts tumbles topples sways shatters "
    "separates appears shrugs projects overlays stretches gathers simmers flutters competes envelops moves drifts "
    "towers looms streaks thunders protrudes juts casts reflects mirrors illuminates extends reveals scatters winds "
    "flows blends curls billows swirls settles echoes strums tosses squeezes grips grasps clutches cradles tugs "
    "chews munches nibbles sips blinks gestures relaxes reclines lounges huddles chats bursts pours dominates "
    "captivates embodies evokes conveys emphasizes highlights captures complements enhances radiates sparkles "
    "shimmers glistens gleams flickers dots lines frames borders occupies dwarfs obscures blocks clings descends "
    "ascends emits resembles symbolizes represents suggests creates adds lends provides offers becomes remains "
    "seems begins continues stays keeps lives belongs brings transforms turns spreads"
)
"""Finite verbs that no requirement is made of; without them their subject and what follows would be one name."""
IMPERATIVES: Final = _words(
    "promote certify communicate explore imagine transform introduce combine aim add make ensure think visualize "
    "picture emphasize emphasise highlight focus avoid apply keep try incorporate convey evoke express craft "
    "illustrate portray blend bring put infuse transport immerse step enter envision use let include set place "
    "render depict showcase capture display present"
)
"""Verbs that at the beginning of a sentence tell what to do, and name nothing."""
PAIRED: Final = _words("boot shoe sneaker glove sandal sock slipper mitten")
"""Clothes of which one alone is a place to be in."""
LEASHES: Final = _words("leash lead tether wheel")
"""What `on` does not stand on: a dog on a leash."""
VACUOUS: Final = _words(
    "titled labeled labelled named called entitled designed created captured crafted depicted presented displayed "
    "positioned placed arranged located situated nearby visible present featured included glimpsed noticeable"
)
"""Predicates that ask for nothing that can be checked by themselves."""
PICTURED: Final = _words("shadow shadows silhouette silhouettes outline outlines")
"""Abstract nouns that name something to draw where `of` says of what: `the shadow of a palm tree`."""
INSUBSTANTIAL: Final = _words(
    "memory memories dream dreams idea thought thoughts smell scent sound sounds lack absence promise taste loss "
    "echo echoes fear love illusion possibility"
)
"""Abstract nouns after which `of` names what need not be there."""
NOUNS_IN_LY: Final = _words("butterfly dragonfly firefly family monopoly assembly belly jelly lily bully holly fly")

ABSTRACT: Final = _words(
    "photography farewell goodbye reunion celebration evening dawn dusk twilight midnight rhythm unison sync "
    "candlelight lamplight firelight torchlight appeal escape mid-air none organization sight one ones height width "
    "length meantime background foreground view style shot side sides top front back middle center centre left "
    "right bottom composition lighting light detail details shadow shadows mood atmosphere ambiance ambience focus "
    "depth quality resolution contrast texture textures color colors colour colours perspective angle layout space "
    "position arrangement aesthetic palette tone tones feel sense vibe touch emphasis theme who what where when "
    "while lens camera bokeh hd 4k 8k uhd exposure typography font way kind type sort text letters front-facing "
    "attention daytime nighttime errand errands visually scenery time variety array object objects item items thing "
    "things reader viewer requirement all everything anything nothing something others story memory memories hope "
    "beauty nature life love joy wonder peace power energy motion movement action moment moments history culture "
    "tradition world future past journey adventure dream dreams spirit soul essence idea concept design pattern "
    "patterns hint hints glow warmth part parts piece center-stage backdrop setting edge edges corner area surface "
    "surfaces distance eye-level horizon-line presence experience expression look gaze pose stance effect effects "
    "process top-down blend mix combination result fact example balance harmony chaos silence noise sound music "
    "scent smell taste feeling emotion emotions mystery magic drama masterpiece artwork hour day days year years "
    "century season season's use purpose reason attempt chance testament reminder symbol symbolism narrative source "
    "focal point highlight highlights accent accents hue hues shade shades display scale size shape shapes form "
    "forms level order direction end start beginning row rows line lines number words word message title caption "
    "scene image picture photo photograph meter meters metre metres mile miles bottom-left bottom-right top-left "
    "top-right top-center kilometer kilometers inch inches degree degrees percent minute minutes hours weeks months "
    "times tip tips task freedom justice truth faith fate destiny progress success growth economy economics "
    "politics society teamwork knowledge wisdom philosophy psychology technology science mathematics physics mind "
    "thought thoughts courage respect trust pride shame guilt grief sorrow anger rage fear hatred desire wealth "
    "poverty health death birth war luck risk privacy secrecy bureaucracy melancholy nostalgia euphoria bliss "
    "climate blockchain network networks finance business trade research logic theory law boredom stress burnout "
    "empathy sympathy apathy anarchy hierarchy synergy strategy policy agency therapy philanthropy entropy quantum "
    "metaphor metaphors depiction portrayal representation interpretation visualisation visualization evocation "
    "abstraction trip voyage vacation holiday tour travel poetry event events application typeface italics script "
    "tagline charm shift pair pairs trio duo absurdres highres air overlay equation change crisis birthday morning "
    "afternoon service matter vision values horror discontents startup haiku brand"
)
"""Nouns that name nothing that can be drawn as a thing."""
_ABSTRACT_SUFFIXES: Final = (
    *("ness", "ism", "ity", "ety", "ance", "ence", "hood", "ship", "tion", "sion", "ment", "logy", "cracy", "itude"),
    *("osophy", "nomics"),
)
_CONCRETE: Final = _words(
    "inscription condensation city university fence audience ambulance entrance dance ship spaceship airship "
    "battleship harness witness lioness cruise-ship cruise-liner deity facility conference appliance substance "
    "residence prism cruise steamship warship community neighborhood neighbourhood station substation workstation "
    "fraction lotion potion carnation constellation reflection intersection junction vegetation plantation "
    "decoration construction exclamation explosion eruption collision mansion television procession section "
    "installation formation invitation fortification illustration advertisement apartment monument instrument "
    "garment ornament document basement pavement parchment element equipment cement settlement compartment "
    "department fragment filament pigment sediment battlement ointment condiment tenement firmament casement "
    "escarpment attachment regiment encampment undergarment concoction equation exhibition accordion extension "
    "projection medication"
)
ABSTRACT_COMPOUNDS: Final = frozenset(
    (
        *("machine learning", "deep learning", "climate change", "global warming", "mental health", "virtual reality"),
        *("social media", "supply chain", "cloud computing", "augmented reality"),
    )
)
"""Names of two words that can be drawn as little as one abstract noun, although their first word could."""

_SIDES: Final = _words("top bottom left right center centre middle back front upper lower far near mid side hand")
"""Parts of words such as `back-center`, which name a place in the picture."""

FOREIGN: Final = _words(
    "keine kein keinen zum zur vom beim vor hinter zwischen über der das ein eine einen einem und mit auf dem den "
    "im ist nicht ohne unter neben zwei le les un une des du et avec sur dans est sans près el los las una con en "
    "sobre il lo gli uno su os um uma com em het een op niet met de la que aux da do del della nel och med på ett "
    "är ne pas ce"
)
"""Function words of other languages, which tell a sentence that is not English."""
FOREIGN_IN_NAMES: Final = _words("la de des en le un il lo su os do da den con del ne")
"""Those that names in English prompts have, too, such as La Paz."""
ENGLISH: Final = _words("the a an of and with is are on in at by to no not that under over for from")
ADVERBS: Final = _words(
    "backwards forwards downwards uphill downhill upstairs downstairs overhead underfoot inland offshore aloft half "
    "much meanwhile altogether upwards throughout often sometimes twice once already still again always ever almost "
    "nearly quite too even ahead most more less least very really rather perhaps maybe forward backward upward "
    "downward sideways northeast everywhere nearby outdoors indoors"
)
"""Adverbs without an ending that tells them."""
PICTURE_SIDES: Final = _words("left right center centre middle top bottom foreground background")
"""Words after which a noun phrase such as `on the left` ends."""
FILLERS: Final = _words(
    "fourth fifth sixth seventh eighth ninth tenth different other same whole entire next last first second third "
    "main normal special common actual certain"
)
"""Adjectives that ask for nothing that can be checked by itself."""
BODY_PARTS: Final = _words(
    "hair eye beard moustache mustache tail ear wing arm leg hand paw face nose mouth tooth horn fur feather mane "
    "beak skin finger foot head shoulder fang claw freckle whisker braid ponytail smile tongue antler hoof trunk "
    "tusk neck knee elbow cheek eyebrow eyelash lip chest wrist toe thumb"
)
"""Parts that belong to a living thing wherever `with` stands."""
SHADES: Final = _words("light dark deep bright pale vivid soft rich vibrant")
"""Adjectives that before a colour say which shade of it."""
PLURAL_MODIFIERS: Final = _words(
    "sports arms clothes glasses goods women's men's children's savings news christmas always"
)
"""Plurals that begin names, such as `sports car`."""
STATES: Final = _words("open closed shut empty wet dirty bare upright lit unlit ajar untouched unfinished intact")
"""Adjectives that stand after their noun where the phrase ends: `with its door open`."""
POSTNOMINAL: Final = _words("full free alone asleep awake ready upside")
"""Adjectives that stand after their noun."""
WHOLES: Final = _words(
    "kind kinds type types sort sorts inside interior exterior outside front back side part half view close-up"
)
"""Heads that `of` passes by: the inside of a refrigerator is a refrigerator."""
HUMANS: Final = _words(
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
_CREATURES: Final = _words(
    "robot angel mermaid fairy elf dwarf giant monster dragon unicorn dinosaur alien zombie ghost snowman dog cat "
    "puppy kitten horse cow pig sheep goat lamb rabbit mouse rat squirrel fox wolf bear lion tiger leopard cheetah "
    "elephant giraffe zebra monkey gorilla panda koala kangaroo penguin owl bird eagle parrot duck goose swan "
    "chicken rooster peacock flamingo fish shark whale dolphin octopus turtle frog snake lizard crocodile butterfly "
    "bee raccoon hedgehog deer moose camel donkey otter seal hamster skeleton"
)
"""Animals, and figures that are no people."""
ANIMATE: Final = HUMANS | _CREATURES
"""Heads of things that act by themselves."""


def attribute_of(word: str) -> str | None:
    """Return the attribute that a word is before a noun, in its canonical spelling, or None."""
    known = colour_of(word) or surface_of(word)
    if known is not None:
        return known
    if is_plain_adjective(word):
        return word
    return word if is_participle(word) or is_past(word) else None


def is_past(word: str) -> bool:
    """Return whether a word is a past participle such as `painted` or `made`, and not `bed` or `seed`."""
    word = word.removeprefix("un").removeprefix("over")
    return word in _PAST_PARTICIPLES or (word.endswith("ed") and len(word) > 4 and not word.endswith("eed"))


def is_adverb(word: str) -> bool:
    """Return whether a word is an adverb such as `slowly`."""
    if word in ADVERBS:
        return True
    return word.endswith("ly") and len(word) > 4 and word not in NOUNS_IN_LY and word not in ADJECTIVES


def is_abstract(noun: str) -> bool:
    """Return whether a noun in the singular or plural names nothing that can be drawn."""
    if (
        noun.startswith("mid-")
        or noun in ABSTRACT
        or noun in ABSTRACT_COMPOUNDS
        or ("-" in noun and _SIDES.issuperset(noun.split("-")))
    ):
        return True
    noun = noun.rpartition(" ")[2]
    return noun.endswith(_ABSTRACT_SUFFIXES) and len(noun) > 6 and noun not in _CONCRETE


def is_colour_only(word: str) -> bool:
    """Return whether a word is a colour and no thing, as an orange is."""
    return colour_of(word) is not None and word not in _COLOURED_THINGS


def is_plain_adjective(word: str) -> bool:
    """Return whether a word is an adjective by the table or its ending, and no noun."""
    return is_adjective(word) or word in COMPARATIVES


def is_compound(first: str, rest: str) -> bool:
    """Return whether two words are one name although the first is an adjective, as in `hot dog`."""
    return f"{first}-{rest}" in COMPOUNDS or f"{first} {rest}" in ABSTRACT_COMPOUNDS


def is_shade(word: str, following: str) -> bool:
    """Return whether a word says which shade of the colour that follows it, as in `light blue`."""
    return word in SHADES and colour_of(following) is not None
