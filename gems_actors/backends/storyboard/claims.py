"""Conversion of claims to questions and clauses, and back.

One parser reads both forms, so that the questions about a picture and the stressed clauses of a prompt cannot diverge:
`Are there exactly three pigs in the image?` and `there are exactly three pigs` are the same claim.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from gems_actors.backends.storyboard.english.kinds import ANIMATE, GAMES, MATERIALS, is_uncounted
from gems_actors.backends.storyboard.english.styles import COUNTED_MEDIA, VIEWS
from gems_actors.backends.storyboard.english.verbs import is_past
from gems_actors.backends.storyboard.english.vocabulary import COMPARATIVES, PARTICLES
from gems_actors.backends.storyboard.english.wording import cased
from gems_actors.backends.storyboard.scene import Claim, RelationKind, Scene, is_negative
from gems_actors.backends.storyboard.words import (
    LONGEST_PLACE,
    NOUNS_IN_ING,
    PLACES,
    PLURAL_ONLY,
    colour_of,
    is_participle,
    number_of,
    place_name,
    plural,
    singular,
    spell,
    surface_of,
)
from protocol.limits import MAX_CLAIM_CHARS, MAX_NAME_CHARS

_POSITION_PHRASES: Final = {"left of": "to the left of", "right of": "to the right of"}
_ARTICLES: Final = frozenset({"a", "an", "any", "some", "the"})
_NAME = r"(?-i:[A-Z])[\w'.&-]*(?: (?:of|the|de|la|du|del|von|van|\d+|(?-i:[A-Z])[\w'.&-]*))*"
"""A name with capital letters, which needs no article."""
_SUBJECT = r"(?:the |(?=(?:some|any|every|no)(?:one|body)'s )|(?=(?-i:[A-Z])))"
_STATED = rf"(?:the |(?=(?:some|any|every|no)(?:one|body)'s )|(?={_NAME} (?:is|are|has|have) ))"
_SHOWS_NAME = re.compile(rf"(?:does )?the image shows? (?:the )?({_NAME})", re.IGNORECASE)
_HAS = re.compile(rf"(?:do|does) {_SUBJECT}(.+?) have (.+)|{_STATED}(.+?) (?:has|have) (.+)", re.IGNORECASE)
_IS = re.compile(rf"(?:is|are) {_SUBJECT}(.+)|{_STATED}(.+? (?:is|are) .+)", re.IGNORECASE)
_TIME_SHOWN: Final = re.compile(r"showing (\d+:\d\d)")
_PICTURES: Final = frozenset({"image", "picture", "photo", "scene"})
_IDIOMS: Final = frozenset({("playing", "cards"), ("holding", "hands")})
"""Actions whose object has no article."""
_COVERED: Final = frozenset({"covered", "coated", "drenched", "soaked", "dressed", "clad", "wrapped"})
_HUNDREDS: Final = frozenset({"hundred", "thousand", "million"})
_VOWEL: Final = re.compile(
    r"(?!uni(?!n|m)|u[bfkrst][aeiou]|eu|ewe|one\b|once\b)[aeiou]|hour|honest|honou?r|heir|8|1[18](?!\d)"
)
"""Words that are spoken with a vowel at first; `unicorn` and `one` are not."""
_LIKE: Final = re.compile(r"(?:shaped like|made of|made from|(?:dressed|disguised) as) (?!the )")
_MATERIAL: Final = re.compile(rf"(.+?) (not )?made of ({'|'.join(sorted(MATERIALS))})")
_SHOWN: Final = "shown"
"""Stands before a predicate of several words, such as `shown cut in half`, so that its subject is told from it."""


def ask(claim: Claim, scene: Scene) -> str:
    """Return a claim as a yes/no question, with plurals as in the scene and capital letters as in its prompt."""
    is_plural = _is_plural(claim.subject, scene)
    verb = "Are" if is_plural else "Is"
    match claim:
        case Claim(kind="object") if _is_proper(claim.subject, scene):
            return f"Does the image show {_the(claim.subject, scene)}?"
        case Claim(kind="object") if _is_game(claim.subject, scene):
            return f"Is {claim.subject} being played in the image?"
        case Claim(kind="object"):
            return f"{verb} there {_some(claim.subject, scene, 'any')} in the image?"
        case Claim(kind="count", value="0"):
            return f"Is the image free of {_all(claim.subject)}?"
        case Claim(kind="count"):
            return f"{_be(claim.value).capitalize()} there exactly {_counted(claim, scene)} in the image?"
        case Claim(kind="text"):
            return f'Does the image show the text "{claim.value}"?'
        case Claim(kind="style"):
            picture = _kind_of_picture(claim.value)
            return f"Is the image {picture}?" if picture else f"Is the style of the image {claim.value}?"
        case Claim(kind="other", subject=""):
            return f"Is the scene set {claim.value}?"
        case Claim(kind="other"):
            label, _, number = claim.value.partition("=")
            return f"Does the {claim.subject} show {label} as {number}?"
        case Claim(kind="action", objects=()) if time := _TIME_SHOWN.fullmatch(claim.value):
            return f"Does {_the(claim.subject, scene)} show {time[1]}?"
        case Claim(kind="position", value="with", objects=(part,)) if not _accompanies(claim.subject, part):
            has = "Do" if is_plural else "Does"
            return f"{has} {_the(claim.subject, scene)} have {_some(part, scene)}?"
        case _:
            return f"{verb} {_the(claim.subject, scene)} {_predicate(claim, scene)}?"


def state(claim: Claim, scene: Scene) -> str:
    """Return a claim as a clause that states it."""
    is_plural = _is_plural(claim.subject, scene)
    verb = "are" if is_plural else "is"
    match claim:
        case Claim(kind="object") if _is_proper(claim.subject, scene):
            return f"the image shows {_the(claim.subject, scene)}"
        case Claim(kind="object") if _is_game(claim.subject, scene):
            return f"{claim.subject} is being played"
        case Claim(kind="object"):
            return f"there {verb} {_some(claim.subject, scene, 'some')}"
        case Claim(kind="count", value="0"):
            return f"the image is free of {_all(claim.subject)}"
        case Claim(kind="count"):
            return f"there {_be(claim.value)} exactly {_counted(claim, scene)}"
        case Claim(kind="text"):
            return f'the image shows the text "{claim.value}"'
        case Claim(kind="style"):
            picture = _kind_of_picture(claim.value)
            return f"the image is {picture}" if picture else f"the style of the image is {claim.value}"
        case Claim(kind="other", subject=""):
            return f"the scene is set {claim.value}"
        case Claim(kind="other"):
            label, _, number = claim.value.partition("=")
            return f"the {claim.subject} shows {label} as {number}"
        case Claim(kind="action", objects=()) if time := _TIME_SHOWN.fullmatch(claim.value):
            return f"{_the(claim.subject, scene)} shows {time[1]}"
        case Claim(kind="position", value="with", objects=(part,)) if not _accompanies(claim.subject, part):
            return f"{_the(claim.subject, scene)} {'have' if is_plural else 'has'} {_some(part, scene)}"
        case _:
            return f"{_the(claim.subject, scene)} {verb} {_predicate(claim, scene)}"


def ask_about(words: str) -> str:
    """Return the question of a requirement that nobody can check, because its words were not understood."""
    return f'Does the image agree with "{words.replace(chr(34), chr(39))}"?'


def claim_fields(claim: Claim) -> dict[str, object] | None:
    """Return a claim in the form of the wire; None for one that has none, such as a style or `between`."""
    value, is_denied = claim.value.removeprefix("not "), claim.value.startswith("not ")
    match claim:
        case Claim(kind="object"):
            return _fields("exists", claim.subject)
        case Claim(kind="count", value="0"):
            return _fields("exists", claim.subject, negated=True)
        case Claim(kind="count"):
            return _fields("count", claim.subject, value)
        case Claim(kind="text"):
            return _fields("text", value=claim.value)
        case Claim(kind="attribute" | "action", objects=()):
            return _fields("attribute", claim.subject, value, negated=is_denied)
        case Claim(kind="position" | "action", objects=(target,)) if value != "without":
            return _fields("relation", claim.subject, value, target, negated=is_denied)
    return None


def _fields(
    type_: str, subject: str = "", value: str = "", target: str = "", *, negated: bool = False
) -> dict[str, object] | None:
    if len(subject) > MAX_NAME_CHARS or len(target) > MAX_NAME_CHARS or len(value) > MAX_CLAIM_CHARS:
        return None
    return {"type": type_, "subject": subject, "object": target, "value": value, "negated": negated}


def parse_claim(sentence: str) -> Claim | None:
    """Return the claim of a question or a clause; None if its form is not known."""
    if quoted := re.search(r'\btext\b[^"]*"(.*)"', sentence, re.DOTALL):
        return Claim("text", value=quoted[1])
    written = re.sub(r"\s+", " ", sentence.strip().rstrip("?.! ")).replace("’", "'")
    written = re.sub(r" (?:visible )?in (?:the|this) (?:image|picture|photo)$", "", written, flags=re.IGNORECASE)
    text = written.lower()
    if style := re.fullmatch(r"(?:is )?the style of the image (?:is )?(.+)", text):
        return Claim("style", value=style[1])
    if picture := re.fullmatch(r"(?:is )?the image (?:is )?an? (.+)", text):
        return Claim("style", value=_style_of(picture[1]))
    if setting := re.fullmatch(r"(?:is )?the scene (?:is )?set (.+)", text):
        return Claim("other", value=setting[1])
    if absence := re.fullmatch(r"(?:is )?the (?:image|picture) (?:is )?free of (.+)", text):
        return Claim("count", singular(absence[1]), "0")
    if value := re.fullmatch(r"(?:does )?the (.+?) shows? (.+) as (\S+)", text):
        return Claim("other", value[1], f"{value[2]}={value[3]}")
    if time := re.fullmatch(r"(?:does )?the (.+?) shows? (\d+:\d\d)", text):
        return Claim("action", time[1], f"showing {time[2]}")
    if existence := re.fullmatch(r"(?:(?:is|are) there|there (?:is|are)) (.+)", text):
        return _parse_existence(existence[1])
    if (game := re.fullmatch(r"(?:is )?(\S+) (?:is )?being played", text)) and game[1] in GAMES:
        return Claim("object", game[1])
    if shown := _SHOWS_NAME.fullmatch(written):
        return Claim("object", singular(shown[1].lower()))
    if (having := _HAS.fullmatch(written)) and (having[1] or having[3]).lower() not in _PICTURES:
        return Claim("position", _name(having[1] or having[3]), "with", (_name(having[2] or having[4]),))
    if predicate := _IS.fullmatch(written):
        return _parse_predicate(predicate[1] or re.sub(r" (?:is|are) ", " ", predicate[2], count=1))
    return None


def _parse_existence(noun_phrase: str) -> Claim | None:
    words = [word for word in noun_phrase.split() if word != "exactly"]
    if len(words) > 1 and (number := number_of(words[0])) is not None:
        return Claim("count", singular(" ".join(words[1:])), str(number))
    name = _name(" ".join(words))
    return Claim("object", name) if name not in _ARTICLES | {""} else None


def _parse_predicate(written: str) -> Claim | None:
    """Read `cats to the left of the dog`, `cats chasing the dog`, `cats red` or `cat not black`."""
    written = re.sub(r" being (?=\w+ by )", " ", written)
    text = written.lower()
    if material := _MATERIAL.fullmatch(text):
        return _property(material[1], f"{material[2] or ''}{material[3]}")
    if like := re.fullmatch(rf"(.+?) ({_LIKE.pattern}.+)", text):
        return Claim("attribute", singular(like[1].removesuffix(" shown")), like[2])
    if between := re.fullmatch(r"(.+?) (?:in )?between (.+) and (.+)", text):
        return Claim("position", _name(between[1]), "between", (_name(between[2]), _name(between[3])))
    words = text.split()
    for at, end, value, kind in _relations_in(written.split()):
        target = written.split()[end:]
        is_named = bool(target) and (
            target[0].lower() in _ARTICLES or target[0][0].isupper() or _is_someones(target[0])
        )
        is_bare = bool(target) and _SHOWN not in words[:at] and _may_be_bare(value, " ".join(words[end:]))
        if is_named or is_bare:
            return Claim(kind, singular(" ".join(words[:at])), value, (_name(" ".join(target)),))
    return _parse_property(words)


def _relations_in(written: list[str]) -> Iterator[tuple[int, int, str, RelationKind]]:
    """Yield start, end, value and kind of each relation that the words may contain, the first and longest first."""
    words = [word.lower() for word in written]
    for at in range(1, len(words)):
        start = at + (words[at] == "not")
        negative = "not " if start > at else ""
        if words[at] == "without":
            yield at, at + 1, "without", "position"
        for length in range(LONGEST_PLACE, 0, -1):
            spelled = " ".join(words[start : start + length])
            if spelled in PLACES and start + length < len(words):
                place = place_name(spelled, " ".join(words[start + length :]))
                yield at, start + length, negative + place, "position"
        if start < len(words) and _is_verb(written, start):
            for length in range(LONGEST_PLACE, -1, -1):
                after = " ".join(words[start + 1 : start + 1 + length])
                if not after or after in PLACES or after in PARTICLES:
                    yield at, start + 1 + length, f"{negative}{words[start]} {after}".rstrip(), "action"
        if words[start : start + 2][1:] == ["than"] and words[start] in COMPARATIVES:
            yield at, start + 2, f"{negative}{words[start]} than", "action"


def _is_verb(written: list[str], at: int) -> bool:
    word, following = written[at].lower(), "".join(written[at + 1 : at + 2])
    is_verbal = is_participle(word) or is_past(word) or word == "full"
    return is_verbal or (word in NOUNS_IN_ING and (following.lower() == "the" or following[:1].isupper()))


def _may_be_bare(value: str, name: str) -> bool:
    """Return whether the object of a relation may have no article: `full of bread`, `without leaves`."""
    is_several = singular(name) != name or is_uncounted(name) or name.split()[-1] in PLURAL_ONLY
    is_idiom = (value, name) in _IDIOMS
    return value == "without" or name in GAMES or is_idiom or (_says_what_with(value) and is_several)


def _says_what_with(value: str) -> bool:
    """Return whether an action says what something is full of or covered with."""
    first, _, last = value.removeprefix("not ").partition(" ")
    return (last in {"of", "with"} and (first == "full" or is_past(first))) or (last == "in" and first in _COVERED)


def _parse_property(words: list[str]) -> Claim | None:
    for mark in ("not", _SHOWN):
        if mark in words[1:-1]:
            at = words.index(mark, 1)
            value = " ".join(words[at + (mark == _SHOWN) :])
            return _property(" ".join(words[:at]), value)
    return _property(" ".join(words[:-1]), words[-1]) if len(words) > 1 else None


def _property(name: str, value: str) -> Claim:
    first = value.removeprefix("not ").split()[0]
    if is_participle(first) and surface_of(first) is None:
        return Claim("action", singular(name), value)
    stated = value.removeprefix("not ")
    stated = colour_of(stated) or surface_of(stated) or stated
    return Claim("attribute", singular(name), f"not {stated}" if value.startswith("not ") else stated)


def _predicate(claim: Claim, scene: Scene) -> str:
    if not claim.objects:
        is_plain = " " not in claim.value or claim.value.startswith("not ")
        if not is_plain:
            return claim.value if _LIKE.match(claim.value) else f"{_SHOWN} {claim.value}"
        denial = "not " if claim.value.startswith("not ") else ""
        value = claim.value.removeprefix("not ")
        written = _spelling_of(value, scene)[1]
        if not written.istitle():
            written = dict(scene.wording.attributes).get(value, value)
        return f"{denial}made of {written}" if written in MATERIALS else denial + written
    if is_negative(claim.value):
        any_ = "" if claim.value == "without" else "any"
        objects = " and ".join(_some(name, scene, any_, is_denied=True) for name in claim.objects)
    elif (claim.value, _named(claim.objects[0], scene)) in _IDIOMS:
        objects = _named(claim.objects[0], scene)
    elif _says_what_with(claim.value):
        objects = " and ".join(_some(n, scene) if _is_mass_or_many(n, scene) else _the(n, scene) for n in claim.objects)
    else:
        objects = " and ".join(_the(name, scene) for name in claim.objects)
    denial = "not " if claim.value.startswith("not ") else ""
    place = claim.value.removeprefix("not ")
    place = dict(scene.wording.places).get(place, _POSITION_PHRASES.get(place, place))
    return f"{denial}{place} {objects}"


def _accompanies(name: str, other: str) -> bool:
    """Return whether both of two things are alive, so that one is with the other and does not have it."""
    return all(each.partition(" of ")[0].split()[-1] in ANIMATE for each in (name, other))


def _kind_of_picture(style: str) -> str:
    """Return what a picture of a style is, such as `an oil painting`; empty for other styles, such as `anime`."""
    if style in VIEWS:
        style = f"{style} {VIEWS[style]}"
    elif style.split()[-1] not in COUNTED_MEDIA and " ".join(style.split()[-2:]) not in COUNTED_MEDIA:
        return ""
    return f"{_article(style)} {style.replace('3d', '3D')}"


def _style_of(picture: str) -> str:
    look = picture.rpartition(" ")[0]
    return look if look in VIEWS else picture


def _is_plural(name: str, scene: Scene) -> bool:
    return scene.is_plural(name) or name.rpartition(" ")[2] in PLURAL_ONLY


def _is_proper(name: str, scene: Scene) -> bool:
    """Return whether a name is a proper one, such as `Mount Fuji`, of which there is one in the world."""
    return _spelling_of(name, scene)[0] != "a"


def _spelling_of(name: str, scene: Scene) -> tuple[str, str]:
    return next(((article, spelled) for known, article, spelled in scene.wording.names if known == name), ("a", name))


def _named(name: str, scene: Scene, *, is_plural: bool | None = None) -> str:
    """Return a name in the plural if its thing is a group, with capital letters as in the prompt."""
    is_group = scene.is_plural(name) if is_plural is None else is_plural
    words, spelled = (plural(name) if is_group else name).split(), _spelling_of(name, scene)[1].split()
    return re.sub(r"\b(reading|safety) eyeglasses$", r"\1 glasses", " ".join(map(cased, words, spelled)))


def _the(name: str, scene: Scene) -> str:
    """Return a name with its definite article, if it has one."""
    named = _named(name, scene)
    return (
        named if _is_game(name, scene) or _is_someones(name) or _spelling_of(name, scene)[0] == "" else f"the {named}"
    )


def _some(name: str, scene: Scene, article: str = "", *, is_denied: bool = False) -> str:
    """Return a name with `a` or `an`, or with another article where there are several, or it is not counted."""
    is_many = name in scene.wording.plurals if is_denied else scene.is_plural(name)
    named = _named(name, scene, is_plural=is_many)
    if _is_someones(name) or _is_proper(name, scene):
        return _the(name, scene)
    if is_many and name.split()[0] in _HUNDREDS and " of " in name:
        return named
    if is_many or _is_mass_or_many(name, scene):
        return f"{article} {named}".lstrip()
    return f"{_article(named)} {named}"


def _is_game(name: str, scene: Scene) -> bool:
    """Return whether somebody plays it, so that `volleyball` is no ball."""
    return name in GAMES and any(item.word == "playing" and name in item.objects for item in scene.relations)


def _is_counted(name: str, scene: Scene) -> bool:
    thing = scene.find_thing(name)
    return thing is not None and thing.is_counted


def _is_mass_or_many(name: str, scene: Scene) -> bool:
    is_mass = is_uncounted(name) and not _is_counted(name, scene)
    return is_mass or (_is_plural(name, scene) and not _is_proper(name, scene))


def _all(name: str) -> str:
    return name if is_uncounted(name) else plural(name)


def _is_someones(name: str) -> bool:
    """Return whether a name begins with `someone's`, which takes no article."""
    return re.match(r"(?:some|any|every|no)(?:one|body)'s\b", name) is not None


def _name(words: str) -> str:
    """Return the name of a thing, in the singular and without its article."""
    name = re.sub(r"^(?:the|an?|any|some) (?=.)", "", words.lower())
    return singular(re.sub(r"\b(reading|safety) glasses$", r"\1 eyeglasses", name))


def _counted(claim: Claim, scene: Scene) -> str:
    return f"{spell(int(claim.value))} {_named(claim.subject, scene, is_plural=claim.value != '1')}"


def _be(count: str) -> str:
    return "is" if count == "1" else "are"


def _article(name: str) -> str:
    """Return `a` or `an`, by the sound with which a name begins."""
    first = re.split(r"[ -]", name)[0]
    is_spelled = re.fullmatch(r".|[A-Z]{2,3}\d*|[B-DF-HJ-NP-TV-Z]+\d*", first)  # said by its letters, as in `x-ray`
    if is_spelled and first.isascii():
        return "an" if first[0].lower() in "aefhilmnorsx8" else "a"
    return "an" if _VOWEL.match(unicodedata.normalize("NFKD", first.lower())) else "a"
