"""Verbs of plain English: their forms, and what may be asked of them."""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.words import word_set

_VERBS: Final = word_set(
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
_NOUNS_MOSTLY: Final = word_set(
    "roll bite press pass cross spill crash leave plant park train box rock sign face fire water fish nest land set "
    "hand race row ride look dance work camp shop watch drink cut type guard bow wave cover swing drop slice point "
    "hammer comb brush lead step show light"
)
"""Verbs whose forms are nouns more often: they count as verbs only before an article."""
_DOUBLED: Final = word_set(
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
TRANSFERS: Final = word_set("throwing giving handing selling showing offering serving feeding tossing passing kicking")
"""Actions that a second object with `to` or `at` belongs to."""
_PAST_PARTICIPLES: Final = word_set(
    "stuck bound fed led laid sold bitten ridden driven stolen slung struck strewn swollen taken eaten chosen clad "
    "caught made seen built drawn cut set hung held worn torn broken frozen written woven lit shown split bent "
    "grown blown thrown hidden fallen sewn handwritten carved spun strung swept dug known tied iced used lost"
)
"""Irregular participles; `set` and `seen` need a preposition."""
PURPOSES: Final = word_set(
    "rowing sailing warning charging camping dining cooking sewing hiking fishing boxing baking gardening drinking "
    "writing reading swimming running walking riding climbing knitting painting measuring mixing serving waiting "
    "landing"
)
"""Participles that before a thing which does not act name its purpose: `a warning label` warns of nothing yet."""
INTRANSITIVE: Final = word_set(
    "wilting blooming glowing burning falling floating sleeping smiling shining melting drooping rotting flickering "
    "swaying flying rising withering crumbling laughing crying sparkling shimmering twinkling boiling steaming "
    "smoking"
)
"""Participles without an object: before a noun they are its attributes."""
PASSED_VERBS: Final = word_set(
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
IMPERATIVES: Final = word_set(
    "promote certify communicate explore imagine transform introduce combine aim add make ensure think visualize "
    "picture emphasize emphasise highlight focus avoid apply keep try incorporate convey evoke express craft "
    "illustrate portray blend bring put infuse transport immerse step enter envision use let include set place "
    "render depict showcase capture display present"
)
"""Verbs that at the beginning of a sentence tell what to do, and name nothing."""


def is_past(word: str) -> bool:
    """Return whether a word is a past participle such as `painted` or `made`, and not `bed` or `seed`."""
    word = word.removeprefix("un").removeprefix("over")
    return word in _PAST_PARTICIPLES or (word.endswith("ed") and len(word) > 4 and not word.endswith("eed"))
