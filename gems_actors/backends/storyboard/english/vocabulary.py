"""Word classes of plain English, as far as prompts need them: tables and spelling rules, no statistics."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gems_actors.backends.storyboard.english.adjectives import ADJECTIVES, is_adjective, is_comparative
from gems_actors.backends.storyboard.english.verbs import is_past
from gems_actors.backends.storyboard.words import colour_of, is_participle, singular, surface_of, word_set

DETERMINERS: Final = word_set("a an the this that these those his her its their my our your another each every any")
POSSESSIVES: Final = word_set("his her its their my our your")
LOOSE_COUNTS: Final = dict.fromkeys(("several", "multiple", "various"), 4) | (
    {"some": 3, "few": 3, "many": 6, "numerous": 6, "both": 2}
)
AMOUNTS: Final = word_set("lot lots plenty")
"""Words before `of` that say nothing but how much there is."""
MEASURES: Final = dict.fromkeys(
    word_set(
        "group bunch set row herd flock pack collection pile stack crowd line team number series swarm pod school "
        "heap cluster dozens lots plenty variety assortment array"
    ),
    4,
) | {"pair": 2, "couple": 2, "trio": 3}
"""Words before `of` that say how many, and how many are drawn; only up to three are a requirement."""

COPULAS: Final = word_set("is are was were be been being am 's")
NEGATIONS: Final = word_set(
    "not never isn't aren't wasn't weren't doesn't don't didn't cannot can't won't hasn't haven't"
)
NEGATIVE_COPULAS: Final = word_set("isn't aren't wasn't weren't")
ABSENCES: Final = word_set("no without lacking lacks minus neither devoid sans")
MISSING: Final = word_set("missing absent gone nowhere")
"""What is so is named, and yet not in the picture."""
ONE_OF_TWO: Final = word_set(
    "upper lower inner outer left right front rear nearest farthest first second third fourth fifth sixth last "
    "topmost uppermost outermost innermost leftmost rightmost foremost"
)
"""Adjectives that tell one of several things of a kind."""
WRITING: Final = word_set("text texts words letters writing lettering captions")
FUNCTION_WORDS: Final = (
    DETERMINERS
    | COPULAS
    | NEGATIONS
    | ABSENCES
    | word_set(
        "and or but nor so yet if though although then than as while when where who whom whose which what there here "
        "it they them he she we you i him us himself herself itself themselves have has had having do does did will "
        "would can could may might must should of to for from by with at in on into onto upon over under off up down "
        "out about like per via through between near also just only both either all one ones other others please make "
        "sure ensure create draw generate render show shows showing depict depicts depicting feature features "
        "featuring contain contains containing include includes including image picture photo photograph exactly "
        "precisely very own plus next adjacent alongside beside above below behind inside within underneath "
        "beneath atop along around against across toward towards outside past among beyond scene capture how why let "
        "let's exist exists depicted displayed captured portrayed rendered presented featured seen shown visible "
        "placed positioned set located arranged vs versus"
    )
)
"""Words that are no requirement by themselves, so that they need not be understood."""
BREAKERS: Final = FUNCTION_WORDS - DETERMINERS - word_set(
    "image picture photo photograph scene set one ones"
) | word_set(
    "nobody no-one someone somebody everyone everybody anyone anybody because during before after until since "
    "together away instead rather except besides says say reads read saying reading labeled labelled titled called "
    "named entitled"
)
"""Words at which a noun phrase ends."""
PRONOUNS: Final = word_set("it they them he she him")
CONJUNCTIONS: Final = word_set("and or but while as then plus yet vs versus")

JOINTS: Final = word_set(", and or but while as then plus nor vs versus")
HAVING: Final = word_set("has have having had featuring features containing contains")
RELATIVES: Final = frozenset(("that", "which", "who", "whose"))
SAYING: Final = word_set(
    "states state stating announces announcing bears bearing says say saying reads read reading spells spelling "
    "titled labeled labelled entitled called named"
)
PARTICLES: Final = word_set("to for off up from into onto out at down over away of")

ATTACHING: Final = word_set("with without wearing holding carrying having")
"""Relations after which the sentence goes on about their subject: `a man in a suit holding a hat`."""
SHARING: Final = ATTACHING | frozenset(
    ("eating", "full of", "filled with", "covered with", "covered in", "decorated with", "topped with", "surrounded by")
)
"""Relations that the members of a list share: `wearing a hat and a scarf`."""

COMPARATIVES: Final = word_set(
    "bigger smaller larger taller shorter longer older younger higher lower wider thinner thicker heavier lighter "
    "darker brighter faster slower closer"
)
_COLOURED_THINGS: Final = word_set("orange olive lime violet lavender gold silver emerald ivory cream aqua")
COMPOUNDS: Final = word_set(
    "blue-jay french-fry heavy-metal open-sign closed-sign wanted-poster chess-set tall-ship russian-doll nesting-doll "
    "dark-elf dark-knight dark-wizard evening-dress black-eye cotton-candy rocking-horse bow-tie red-bean black-bean "
    "green-bean green-tea black-tea white-chocolate dark-chocolate brown-sugar red-carpet swing-set tea-set drum-set "
    "train-set red-panda black-hole black-widow olive-oil olive-tree olive-branch orange-juice orange-tree orange-peel "
    "trash-can garbage-can tin-can soda-can beer-can spray-can hot-dog polar-bear teddy-bear hot-air wild-boar "
    "stuffed-animal french-fries fried-egg hard-hat high-heel light-bulb light-house golden-retriever grizzly-bear "
    "living-room dining-table dining-room rolling-pin rocking-chair washing-machine swimming-pool sleeping-bag "
    "frying-pan shooting-star flying-saucer parking-meter cutting-board baking-tray running-shoe walking-stick "
    "fishing-boat fishing-rod sewing-machine boxing-glove racing-car wedding-cake ice-cream light-switch first-aid "
    "soft-toy sweet-potato double-decker traffic-light lawn-mower carving-knife open-air full-moon old-town "
    "watering-can drinking-fountain vending-machine shopping-cart shopping-bag sailing-boat new-york gold-leaf "
    "spinning-wheel measuring-tape stepping-stone hiking-boot riding-hood knitting-needle whipped-cream stained-glass "
    "marching-band high-street high-seas high-sea high-school high-chair high-rise wine-glass reading-glasses "
    "magnifying-glass safety-glasses jumping-spider flying-fox flying-fish flying-squirrel praying-mantis "
    "climbing-rose weeping-willow mourning-dove whooping-crane spitting-cobra hunting-dog sniffing-dog racing-pigeon "
    "singing-bowl crossing-guard climbing-frame climbing-wall climbing-plant periodic-table grand-piano barred-owl "
    "snowy-owl horned-owl bald-eagle golden-eagle blue-whale spotted-hyena striped-bass sticky-note soft-drink "
    "hot-chocolate hot-tub hot-sauce hot-spring cold-brew double-bass french-horn french-toast french-bulldog "
    "french-press french-door french-window dry-cleaner top-hat red-onion red-cabbage grilled-cheese mashed-potato "
    "wild-turkey high-top paper-clip metal-detector wood-stove wood-duck cotton-field cotton-ball cotton-plant "
    "cotton-swab blue-cheese"
)
"""Compound nouns that begin with what is otherwise an adjective, a material or a participle."""
CLASSIFYING: Final = word_set(
    "electric electrical acoustic solar lunar medical dental postal musical military naval nuclear"
)
"""Adjectives that say which kind of a thing their noun names, and nothing that can be seen of it."""
_PLANTS: Final = word_set("orange olive lime violet lavender cream")
_OF_PLANTS: Final = word_set(
    "field garden grove orchard farm plantation tree branch bouquet harvest meadow juice oil soap pie cake tart "
    "cheesecake slice peel wedge sorbet syrup soda marmalade jam curd zest sauce soup tea cocktail smoothie ice"
)
"""What is of a plant or a food rather than of its colour: a lavender field, a lime pie."""
VACUOUS: Final = word_set(
    "titled labeled labelled named called entitled designed created captured crafted depicted presented displayed "
    "positioned placed arranged located situated nearby visible present featured included glimpsed noticeable"
)
"""Predicates that ask for nothing that can be checked by themselves."""
PICTURED: Final = word_set("shadow shadows silhouette silhouettes outline outlines")
"""Abstract nouns that name something to draw where `of` says of what: `the shadow of a palm tree`."""
INSUBSTANTIAL: Final = word_set(
    "memory memories dream dreams idea thought thoughts smell scent sound sounds lack absence promise taste loss "
    "echo echoes fear love illusion possibility shape shapes form forms size likeness color colour weight height "
    "width length depth style spirit feel look picture pictures photo photos photograph photographs image images"
)
"""Nouns after which `of` names what need not be there: `the memory of a summer`, `a mug with a photo of a cat`."""
NOUNS_IN_LY: Final = word_set("butterfly dragonfly firefly family monopoly assembly belly jelly lily bully holly fly")

ABSTRACT: Final = word_set(
    "photography farewell goodbye reunion celebration evening dawn dusk twilight midnight rhythm unison sync "
    "sunlight sunshine moonlight starlight daylight "
    "candlelight lamplight firelight torchlight appeal escape mid-air none organization sight one ones height "
    "width length meantime background foreground view style shot side sides top front back middle center centre "
    "left right bottom composition lighting light detail details shadow shadows mood atmosphere ambiance ambience "
    "focus depth quality resolution contrast texture textures color colors colour colours perspective angle "
    "layout space position arrangement aesthetic palette tone tones feel sense vibe touch emphasis theme who what "
    "where when while lens camera bokeh hd 4k 8k uhd exposure typography font way kind type sort text letters "
    "front-facing attention daytime nighttime errand errands visually scenery time variety array object objects "
    "item items thing things reader viewer requirement all everything anything nothing something others story "
    "memory memories hope beauty nature life love joy wonder peace power energy motion movement action moment "
    "moments history culture tradition world future past journey adventure dream dreams spirit soul essence idea "
    "concept design pattern patterns hint hints glow warmth part parts piece center-stage backdrop setting edge "
    "edges corner area surface surfaces distance eye-level horizon-line presence experience expression look gaze "
    "pose stance effect effects process top-down blend mix combination result fact example balance harmony chaos "
    "silence noise sound music scent smell taste feeling emotion emotions mystery magic drama masterpiece artwork "
    "hour day days year years century season season's use purpose reason attempt chance testament reminder symbol "
    "symbolism narrative source focal point highlight highlights accent accents hue hues shade shades display "
    "scale size shape shapes form forms level order direction end start beginning row rows line lines number "
    "words word message title caption scene image picture photo photograph meter meters metre metres mile miles "
    "bottom-left bottom-right top-left top-right top-center kilometer kilometers inch inches degree degrees "
    "percent minute minutes hours weeks months times tip tips task freedom justice truth faith fate destiny "
    "progress success growth economy economics politics society teamwork knowledge wisdom philosophy psychology "
    "technology science mathematics physics mind thought thoughts courage respect trust pride shame guilt grief "
    "sorrow anger rage fear hatred desire wealth poverty health death birth war luck risk privacy secrecy "
    "bureaucracy melancholy nostalgia euphoria bliss climate blockchain network networks finance business trade "
    "research logic theory law boredom stress burnout empathy sympathy apathy anarchy hierarchy synergy strategy "
    "policy agency therapy philanthropy entropy quantum metaphor metaphors depiction portrayal representation "
    "interpretation visualisation visualization evocation abstraction trip voyage vacation holiday tour travel "
    "poetry event events application typeface italics script tagline charm shift pair pairs trio duo absurdres "
    "highres air overlay equation change crisis birthday morning afternoon service matter vision values horror "
    "discontents startup haiku brand bloom night country countries date place pressure twenties thirties forties "
    "fifties sixties seventies eighties nineties screenshot documentary name speech manner offer observer element "
    "elements snapshot finish price prices file north south east west northeast northwest southeast southwest aim "
    "dr mr mrs ms prof quarters thirds fifths eighths "
    "two-thirds one-third one-quarter three-quarters weather me us you "
    "vector work play ballet yoga karate selfie nap stroll handstand cartwheel somersault age gender "
    "january february march april june july august september october november december monday tuesday wednesday "
    "thursday friday saturday sunday turn wish joke heartbeat attack siege arrest ease step sensation luxury elegance "
    "sophistication comfort convenience"
)
"""Nouns that name nothing that can be drawn as a thing."""
_ABSTRACT_SUFFIXES: Final = (
    *("ness", "ism", "ity", "ety", "ance", "ence", "hood", "ship", "tion", "sion", "ment", "logy", "cracy", "itude"),
    *("osophy", "nomics"),
)
_CONCRETE: Final = word_set(
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

_SIDES: Final = word_set("top bottom left right center centre middle back front upper lower far near mid side hand")
"""Parts of words such as `back-center`, which name a place in the picture."""

FOREIGN: Final = word_set(
    "keine kein keinen zum zur vom beim vor hinter zwischen über der das ein eine einen einem und mit auf dem den "
    "im ist nicht ohne unter neben zwei le les un une des du et avec sur dans est sans près el los las una con en "
    "sobre il lo gli uno su os um uma com em het een op niet met de la que aux da do del della nel och med på ett "
    "är ne pas ce"
)
"""Function words of other languages, which tell a sentence that is not English."""
FOREIGN_IN_NAMES: Final = word_set("la de des en le un il lo su os do da den con del ne")
"""Those that names in English prompts have, too, such as La Paz."""
ENGLISH: Final = word_set("the a an of and with is are on in at by to no not that under over for from")
ADVERBS: Final = word_set(
    "halfway backwards forwards downwards uphill downhill upstairs downstairs overhead underfoot inland offshore aloft "
    "half much fewer otherwise upside midair mid-air mid-flight meanwhile altogether upwards throughout often "
    "sometimes twice once already still again always ever almost nearly quite too even ahead most more less least "
    "very really rather perhaps maybe forward backward upward downward sideways northeast everywhere nearby "
    "outdoors indoors somewhat together"
)
"""Adverbs without an ending that tells them."""
DEGREES: Final = word_set(
    "half almost nearly partially partly barely hardly scarcely slightly somewhat mostly practically virtually "
    "seemingly apparently supposedly"
)
"""Adverbs after which an adjective or a participle is not wholly so: a half empty mug is not empty."""
PICTURE_SIDES: Final = word_set("left right center centre middle top bottom foreground background")
"""Words after which a noun phrase such as `on the left` ends."""
FILLERS: Final = word_set(
    "fourth fifth sixth seventh eighth ninth tenth different other same whole entire next last first second third "
    "main normal special common actual certain"
)
"""Adjectives that ask for nothing that can be checked by itself."""
SHADES: Final = word_set("light dark deep bright pale vivid soft rich vibrant electric neon")
"""Adjectives that before a colour say which shade of it."""
PLURAL_MODIFIERS: Final = word_set(
    "sports arms clothes glasses goods women's men's children's savings news christmas always"
)
"""Plurals that begin names, such as `sports car`."""
STATES: Final = word_set("open closed shut empty wet dirty bare upright lit unlit ajar untouched unfinished intact")
"""Adjectives that stand after their noun where the phrase ends: `with its door open`."""
POSTNOMINAL: Final = word_set("full free alone asleep awake ready")
"""Adjectives that stand after their noun."""
WHOLES: Final = word_set(
    "kind kinds type types sort sorts inside interior exterior outside front back side part half view close-up"
)
"""Heads that `of` passes by: the inside of a refrigerator is a refrigerator."""


@lru_cache(maxsize=4096)
def attribute_of(word: str) -> str | None:
    """Return the attribute that a word is before a noun, in its canonical spelling, or None."""
    known = colour_of(word) or surface_of(word)
    if known is not None:
        return known
    if is_plain_adjective(word):
        return word
    return word if is_participle(word) or is_past(word) else None


@lru_cache(maxsize=4096)
def is_adverb(word: str) -> bool:
    """Return whether a word is an adverb such as `slowly`."""
    first, _, rest = word.partition("-")
    if word in ADVERBS or (rest and word.count("-") == 2 and rest.rpartition("-")[2] == first):  # `hand-in-hand`
        return True
    return word.endswith("ly") and len(word) > 4 and word not in NOUNS_IN_LY and word not in ADJECTIVES


@lru_cache(maxsize=4096)
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


@lru_cache(maxsize=4096)
def is_plain_adjective(word: str) -> bool:
    """Return whether a word is an adjective by the table or its ending, and no noun."""
    return is_adjective(word) or word in COMPARATIVES or is_comparative(word)


def is_superlative(word: str) -> bool:
    """Return whether a word is the superlative of an adjective, such as `smallest`."""
    return word.endswith("est") and is_plain_adjective(word)


def is_compound(first: str, rest: str) -> bool:
    """Return whether two words are one name although the first is an adjective, as in `hot dog`."""
    return f"{first}-{rest}" in COMPOUNDS or f"{first} {rest}" in ABSTRACT_COMPOUNDS


def is_of_kind(word: str, following: str, head: str) -> bool:
    """Return whether a word says which kind of a thing a name means: an electric guitar, a lavender field."""
    is_plant = word in _PLANTS and not {singular(head), head.split()[0]}.isdisjoint(_OF_PLANTS)
    return is_plant or (word in CLASSIFYING and attribute_of(following) is None)


def is_shade(word: str, following: str) -> bool:
    """Return whether a word says which shade of the colour that follows it, as in `light blue`."""
    return word in SHADES and colour_of(following) is not None
