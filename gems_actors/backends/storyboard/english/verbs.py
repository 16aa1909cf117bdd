"""Verbs of plain English: their forms, and what may be asked of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gems_actors.backends.storyboard.words import word_set

_VERBS: Final = word_set(
    "die eat sit hold wear ride carry chase stand lie fly jump run walk play read write draw paint cook bake hug "
    "kiss push pull throw catch kick climb swim sleep rest lean hang fall float drive sail row fight attack "
    "follow lead feed drink pour look watch stare gaze point reach touch pet hunt dig bite lick smell sniff sing "
    "dance laugh smile cry shout yell whisper talk speak listen wave clap bow kneel crawl hop leap skip march "
    "race surf ski skate dive splash fish build repair fix clean wash sweep open close cut chop slice stir mix "
    "serve sell buy give hand offer show deliver pick plant water grow bloom shine glow burn melt freeze rise set "
    "land hover soar glide perch nest hide peek emerge cross pass enter leave approach surround cover fill face "
    "overlook examine inspect study teach learn type press hit break tear wrap tie lift raise drop hatch guard "
    "protect embrace cuddle balance juggle spin twirl blow gallop graze howl bark roar purr yawn wait work knit "
    "sew weave comb brush shave conduct perform celebrate pray meditate think dream wink grin use bring take put "
    "make weld hammer polish roll slide swing bounce dangle drip spill crash explode orbit explore travel wander "
    "stroll jog sprint cycle camp shop visit meet greet shake salute"
)
_NOUNS_MOSTLY: Final = word_set(
    "roll bite press pass cross spill crash leave plant park train box rock sign face fire water fish nest land "
    "set hand race row ride look dance work camp shop watch drink cut type guard bow wave cover swing drop slice "
    "point hammer comb brush lead step show light tie"
)
"""Verbs whose forms are nouns more often: they count as verbs only before an article."""
_DOUBLED: Final = word_set(
    "chop plop trot plod nod sit run swim hug cut hit put set get dig jog skip hop clap wrap pet stir grin spin "
    "nap drip drop shop knit hum grip sip don strum tug"
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
    if verb.endswith(("ch", "sh", "ss", "x", "zz", "o")):
        return f"{verb}es"
    return f"{verb[:-1]}ies" if verb.endswith("y") and verb[-2] not in "aeou" else f"{verb}s"


SINGULAR_VERBS: Final = {_third_person_of(verb): _participle_of(verb) for verb in _VERBS}
PLURAL_VERBS: Final = {verb: _participle_of(verb) for verb in _VERBS}
PAST_VERBS: Final = {
    past: _participle_of(verb) for past, _, verb in (pair.partition(":") for pair in _IRREGULAR_PAST.split())
}
KNOWN_ACTIONS: Final = frozenset(PLURAL_VERBS.values())
"""Participles of all verbs that requirements are made of."""
NOUNS_MOSTLY: Final = _NOUNS_MOSTLY | {_third_person_of(verb) for verb in _NOUNS_MOSTLY}
_OF_ANYTHING: Final = word_set(
    "die stand lie run lean hang fall float fly drive sail row lead point rest cut open close serve show offer "
    "hit touch clean cover fill face overlook surround cross pass enter leave approach grow bloom shine glow burn "
    "melt freeze rise set land hover soar glide perch roll slide swing bounce dangle drip spill crash explode "
    "orbit break tear wrap tie lift raise drop guard protect embrace balance spin twirl blow work wave press mix "
    "travel emerge use bring take put make polish cycle pour feed dance conduct weave hold carry"
)
"""Verbs of which any thing can be the subject."""
ANIMATE_ACTIONS: Final = frozenset(_participle_of(verb) for verb in _VERBS - _OF_ANYTHING) | word_set(
    "holding carrying wearing dancing feeding waving"
)
"""Actions of people and animals alone."""
TRANSFERS: Final = word_set("throwing giving handing selling showing offering serving feeding tossing passing kicking")
"""Actions that a second object with `to` or `at` belongs to."""
_PAST_PARTICIPLES: Final = word_set(
    "stuck bound begun fed laid sold bitten ridden driven stolen slung struck strewn swollen taken eaten chosen "
    "clad caught made seen built drawn cut set hung held worn torn broken frozen written woven lit shown split "
    "burnt spilt bent grown blown thrown hidden fallen sewn handwritten carved spun strung swept dug known tied iced "
    "used lost flown mistaken shaken woken spoken forgotten bred wound overgrown slain sunk shrunk"
)
"""Irregular participles; `set` and `seen` need a preposition."""
PURPOSES: Final = word_set(
    "steering turning rolling folding sliding revolving rocking swinging punching shopping packing skipping "
    "rowing sailing warning charging camping dining cooking sewing hiking fishing boxing baking gardening "
    "drinking writing reading swimming running walking riding climbing knitting painting measuring mixing serving "
    "waiting landing"
)
"""Participles that before a thing which does not act name its purpose: `a warning label` warns of nothing yet."""
INTRANSITIVE: Final = word_set(
    "wilting blooming glowing burning falling floating sleeping smiling shining melting drooping rotting "
    "flickering swaying flying rising withering crumbling laughing crying sparkling shimmering twinkling boiling "
    "steaming smoking"
)
"""Participles without an object: before a noun they are its attributes."""
_PASSED: Final = (
    word_set(
        "accompany accentuate achieve adapt add admire adorn advertise agree aim allow analyze appear argue ascend "
        "assemble attend attract await become befriend begin believe belong blink bless borrow bring brew captivate "
        "carve celebrate cheer chew cling clutch collapse communicate compete complement complete confront connect "
        "consist contemplate continue converge convey cower crouch create deliver depart descend describe deserve "
        "devour disappear discover discuss dissolve dominate don drift drizzle dwarf embody emanate emit emphasize "
        "emphasise enclose encircle enhance engulf enjoy envelop epitomize evoke examine exude extend exist expand "
        "exchange explain express fade fetch fidget flaunt flee flicker float flow flutter forge gallop gather gaze "
        "gesture giggle gleam glide glisten glitter glow grab grasp grin grip grow guide gulp hail handle hear "
        "hesitate hover huddle hug hurry ignite illuminate imagine imitate inspire intertwine interrupt introduce "
        "invite involve juggle keep kneel know lend linger listen loom lounge lurk maintain melt meander merge mimic "
        "mingle mope mourn move munch nestle nibble notice obscure observe occupy occur offer operate overlay "
        "overlook overtake paddle pay perform persist play plunge ponder possess pour preen prepare present pretend "
        "prevail prod protrude provide punctuate pursue radiate read realize receive recline reflect rejoice relax "
        "release remain remember remind remove repair represent resemble resonate retrieve reveal revolve roam "
        "rummage rush salute savor savour scamper scatter scold scowl scream scrub scurry seat seep seem sell send "
        "separate settle shatter shimmer shiver shrug simmer sink sip sit slither slouch slurp smash snarl sneak "
        "sneeze sniff soak soften sparkle speak spend spill splash sprawl sprout squeeze squint stare startle stay "
        "steal stretch stroll strum struggle stumble suggest supervise support surprise surround suspect sway "
        "symbolize tell think thrive throw thunder tickle tiptoe toil topple toss tower trickle transform traverse "
        "trudge tug tumble twinkle twist unfold unfurl unpack unroll unveil unwrap urge vanish wade waddle wag wait "
        "wake wander want weep come go get find let happen lose consider expect require decide develop produce choose "
        "understand ask seek spell peer prowl soar hiss dangle bend hunch nod doze snore yelp bleat chirp croak "
        "squawk flap frolic romp gobble gnaw lap tow haul hoist heave lug yank fling hurl lob dunk dribble skid "
        "swerve veer careen teeter wobble sag droop wilt rustle creak rattle jingle toll glower beam squirm writhe "
        "glare wince grimace lurch saunter strut prance clamber scramble swoop plummet whirl stride stagger gape gawk "
        "beckon applaud jeer croon scribble scrawl shove clench caress knead baste pounce slink creep hobble hurtle "
        "zoom clatter smoulder glimmer darken brighten gush ooze drench smear crumble rouse wriggle tremble shudder "
        "quiver totter defend lunge dodge browse crumple unload arrange tidy rinse solder mend embroider barter "
        "haggle snatch loiter flit trot quarrel bicker scratch stomp skateboard strain welcome wear wiggle wipe "
        "wrestle write yell"
    )
    - _VERBS
)
_PASSED_NOUNS: Final = word_set(
    "filter tilt ripple clash project curl line frame dot border block mirror streak wind turn blend echo "
    "highlight capture cradle burst cast jut spread swirl billow chat gather live tower drape blush plunge "
    "sparkle splash pose kick paw step stop start check hurdle land crack end form leak spray stack stain "
    "stroke poke nudge pinch pluck tackle flip fold "
    "sprinkle scratch steam shade crown frown race smoke stick charge sound ring rock ship wave whip contrast"
)
"""Verbs whose third person is a plural noun as often, so that it is a verb only with an object."""
PASSED_VERBS: Final = frozenset(_third_person_of(verb) for verb in _PASSED - _PASSED_NOUNS)
"""Finite verbs that no requirement is made of; without them their subject and what follows would be one name."""
PASSED_WITH_OBJECT: Final = frozenset(_third_person_of(verb) for verb in _PASSED_NOUNS - _VERBS)
OWNING: Final = word_set("bears bars lists sports boasts")
"""Finite verbs of what something has on it, which are plurals of nouns unless an object follows."""
THIRD_PERSONS: Final = frozenset((*SINGULAR_VERBS, *PASSED_VERBS, *PASSED_WITH_OBJECT))
BASES: Final = (_VERBS | _PASSED | _PASSED_NOUNS) - {"steam"}  # of which names are made: `a steam train`
PARTICIPLES_AS_BASES: Final = word_set("run spread cut hit put shut read set spread split cast burst overrun beset")
"""Verbs whose past participle is the verb itself: before `by` they are one."""
_TAKING: Final = word_set(
    "hold carry wear ride eat drink play pour cut slice push pull grip clutch cradle hug embrace pet feed kick throw "
    "toss catch lift surround cover line frame flank overlook feature display show include contain reveal support "
    "decorate adorn balance juggle chew nibble sip stir mix wash clean sweep repair fix mend examine inspect check "
    "wipe drive steer climb lead chase walk serve sell brush comb tie grasp raise wave swing wield strum touch bite "
    "lick sniff cross weld hammer separate connect occupy shelter crown illuminate use water read add place put clad "
    "don sport boast tug operate hoist pick arrange stack dust top bear house border guard enclose peel pluck"
)
"""Verbs whose object is there as surely as their subject."""
TAKING_FORMS: Final = {
    form: _participle_of(verb) for verb in _TAKING for form in (verb, _third_person_of(verb), _participle_of(verb))
}
"""Their forms, and the participle of each."""
TRANSITIVE: Final = word_set(
    "wearing holding carrying showing containing featuring looking facing giving handing putting placing bringing "
    "taking offering having making using lifting touching surrounding covering"
)
"""Actions of which nothing can be asked without their object."""
TELLING: Final = word_set(
    "listing lists describing describes explaining explains comparing compares announcing announces advertising "
    "advertises promoting promotes illustrating illustrates detailing details summarizing summarizes"
)
"""Verbs of texts: what they tell of need not be in the picture."""
IMPERATIVES: Final = word_set(
    "promote certify communicate explore imagine transform introduce combine aim add make ensure think visualize "
    "picture emphasize emphasise highlight focus avoid apply keep try incorporate convey evoke express craft "
    "illustrate portray blend bring put infuse transport immerse step enter envision use let include set place "
    "render depict showcase capture display present"
)
"""Verbs that at the beginning of a sentence tell what to do, and name nothing."""


@lru_cache(maxsize=4096)
def is_past(word: str) -> bool:
    """Return whether a word is a past participle such as `painted` or `made`, and not `bed` or `seed`."""
    word = word.removeprefix("un").removeprefix("over").rpartition("-")[2]  # `leather-bound`
    return word in _PAST_PARTICIPLES or (word.endswith("ed") and len(word) > 4 and not word.endswith("eed"))
