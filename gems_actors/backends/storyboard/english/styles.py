"""Styles of a whole picture, and the time and weather that it shows: tables, and the patterns that find them."""

from __future__ import annotations

import re
from typing import Final

from gems_actors.backends.storyboard.english.asides.pictures import Picture, what_picture
from gems_actors.backends.storyboard.english.verbs import is_past
from gems_actors.backends.storyboard.english.vocabulary import attribute_of, is_plain_adjective
from gems_actors.backends.storyboard.words import colour_of

_MAX_STYLES: Final = 4
_MAX_SETTINGS: Final = 2


def listed(text: str) -> tuple[str, ...]:
    """Return phrases separated by commas."""
    return tuple(" ".join(phrase.split()) for phrase in text.split(","))


_MEDIA: Final = listed(
    """oil painting, pencil drawing, pencil sketch, charcoal drawing, line drawing, line art, pixel art, pop art,
    digital art, digital painting, vector art, concept art, comic book, comic strip, 3d render, 3d rendering,
    woodblock print, still life, flat lay, low poly, paper cut, oil on canvas, watercolor,
    watercolour, painting, drawing, sketch, illustration, cartoon, anime, manga, comic, engraving, woodcut, mosaic,
    collage, claymation, origami, doodle, portrait, logo, icon, render, mural, fresco, etching"""
)
"""Kinds of pictures."""
COUNTED_MEDIA: Final = frozenset(
    listed("""painting, drawing, sketch, illustration, portrait, photo, photograph, snapshot, render, rendering, print,
    engraving, woodcut, etching, mosaic, collage, doodle, mural, fresco, logo, icon, strip, close-up, still life,
    flat lay, double exposure, long exposure""")
)
"""Last words of kinds of pictures of which a picture is one: `an oil painting`, not `a pixel art`."""
VIEWS: Final = {
    "aerial": "view",
    "bird's eye": "view",
    "bird's-eye": "view",
    "wide-angle": "shot",
    "wide angle": "shot",
    "macro": "shot",
}
"""Looks that are no style, and what a picture that has them is: `an aerial view`."""
_PLAIN_MEDIA: Final = listed("photograph, photo, picture, image, shot, view, scene, snapshot, rendering")
"""Kinds of pictures that say nothing about the style."""
_PHOTOGRAPHS: Final = frozenset(listed("photograph, photo, photography"))
"""Those that a style next to them leaves to say: `a photo of` alone opens any prompt."""
_OF_PHOTOGRAPHS: Final = frozenset(listed("macro, long exposure, double exposure"))
"""Looks that only a photograph has."""
_GENERAL_MEDIA: Final = listed("painting, drawing, illustration, sketch, render")
_TECHNIQUES: Final = frozenset(
    listed("watercolor, watercolour, oil, ink, charcoal, pastel, digital, anime, cartoon, manga, comic, pencil")
)
"""Looks that say which kind of a painting or drawing it is, so that the general word adds nothing."""
_TOOLS: Final = frozenset(listed("oil, ink, charcoal, pastel, pencil"))
_LOOKS: Final = listed(
    """black and white, black-and-white, ukiyo-e, pixel-art, line-art, pop-art, low-poly, low poly, art deco,
    art nouveau, studio ghibli, film noir, wide-angle, wide angle, bird's eye, bird's-eye, close-up, close up, closeup,
    stop motion, hand-drawn, double exposure, long exposure, 8-bit, 16-bit, photorealistic, hyperrealistic, realistic,
    cyberpunk, steampunk, vaporwave, minimalist, minimal, impressionist, impressionistic, expressionist, surrealist,
    surreal, cubist, abstract, isometric, vintage, retro, noir, baroque, gothic, renaissance, medieval, monochrome,
    sepia, aerial, macro, cinematic, flat, impressionism, surrealism, cubism, watercolor, watercolour, anime, cartoon,
    manga, comic, oil, pencil, charcoal, ink, pastel, digital, psychedelic, pointillist, fantasy"""
)
"""Looks of a whole picture, such as those of `a surreal painting` or `anime style`."""
_ART_TERMS: Final = frozenset(
    listed(
        """chiaroscuro, impasto, bokeh, sfumato, tenebrism, grisaille, rococo, bauhaus, product, studio, stock, press,
        fashion, food, editorial, lifestyle, wildlife, travel, drone, action"""
    )
)
"""Terms that may stand before the kind of a picture, and that no storyboard can show."""
_WEATHERS: Final = "sunny|rainy|snowy|foggy|cloudy|windy|stormy|misty"
_AFTER_SETTINGS: Final = (
    "and|with|as|while|at|on|by|under|near|next|to|for|in|over|behind|past|that|who|which|holding|wearing"
)
"""Words that may follow `in the dark` where that is the time, and no part of `in the dark window`."""
_ALONE: Final = rf"(?!\s(?!(?:{_AFTER_SETTINGS})\b)\w)"
_OF_LIGHT: Final = (
    r"(?:(?:late|early|mid|morning|midday|noonday|noon|afternoon|evening|spring|summer|autumn|winter|desert|tropical"
    r"|warm|hot|bright|brilliant|golden|pale|soft|gentle|strong|harsh|blazing|scorching|blinding|dappled|low|setting"
    r"|rising|full),? )*"
)
"""Words before a light: `in the late afternoon sun` shows no sun that could be asked for."""
_LIGHT: Final = "(?:sun|sunlight|sunshine|moonlight)"
_SETTINGS: Final = (
    r"(?:at|by|during the) night(?: ?time)?",
    r"at (?:sunset|sunrise|dawn|dusk|noon|midnight|twilight)",
    rf"in the (?:pouring |falling |heavy |light |deep )?(?:rain|snow|fog|mist|dark|wind){_ALONE}",
    r"at (?:low|high) tide",
    r"in (?:early |late )?(?:january|february|april|june|july|august|september|october|november|december)",
    rf"in the (?:early |late )?(?:morning|evening|afternoon){_ALONE}",
    rf"in (?:the )?(?:winter|summer|autumn)(?:time)?{_ALONE}",
    rf"(?:in|under) the {_OF_LIGHT}{_LIGHT}{_ALONE}",
    rf"in {_OF_LIGHT}(?:sunlight|sunshine|moonlight|candlelight){_ALONE}",
    r"(?:on|during) an? (?:(?:bright|clear|warm|cold|hot|dark|gr[ea]y|crisp),? )?"
    rf"(?:{_WEATHERS}) (?:day|night|morning|evening|afternoon)",
    r"(?:at|on|during) (?:christmas|halloween|easter|thanksgiving|new year['’]s)(?: (?:eve|day|night|morning))?",
    r"during (?:an? |the )?(?:thunderstorm|storm|snowstorm|sandstorm|sunset|sunrise|winter|summer)",
)
"""Patterns of time and weather, which a storyboard notes for the whole picture."""


def _one_of(*phrases: str) -> str:
    return "|".join(re.escape(phrase) for phrase in sorted(phrases, key=len, reverse=True))


_STYLE: Final = _one_of(*_LOOKS, *_MEDIA)
_MEDIUM: Final = _one_of(*(look for look in _LOOKS if not is_plain_adjective(look)), *_MEDIA)
"""Styles without adjectives that may be about another word: `in minimal, clear type`."""
_LOOK = re.compile(rf"\b(?:{_one_of(*_LOOKS)})\b", re.IGNORECASE)
_VIEW = re.compile(
    r"\b(?:as )?(?:seen|viewed|shot|photographed|captured|taken|looking)? ?from (?:directly |far |high |slightly )?"
    r"(?:above|below|behind|overhead|underneath|afar|within|the (?:inside|outside|side|front|back|top|bottom|air))\b"
    r"(?! (?:the|a|an|of|his|her|its|their)\b)",
    re.IGNORECASE,
)
"""Viewpoints, which no storyboard can show."""
_FRAME = re.compile(
    r"((?:^|[.:\n])\s*(?:(?:please )?(?:create|draw|generate|paint|make|show|render|design|imagine)(?: me)? )?"
    rf"(?:an? |the )?)((?:[\w'’-]+,? ){{0,5}}?)({_one_of(*_MEDIA, *_PLAIN_MEDIA)})s?(?: style)?"
    r"(?: (?:of|showing|depicting|featuring|with)\b|:)",
    re.IGNORECASE,
)
"""`A surreal oil painting of`, at the beginning of a sentence."""
_NAME_PART: Final = r"(?:(?:[A-Z]\.)+|[\w'’-]+)"
_AFTER_NAMES: Final = "with|at|in|on|and|shows|showing|depicts|depicting|features|featuring|of|is|are|where"
"""Words that end the name of an artist."""
_STYLE_OF = re.compile(
    rf"\bin (?:the |a )?style of ((?:an? |the )?{_NAME_PART}(?: (?!(?:{_AFTER_NAMES})\b){_NAME_PART}){{0,3}})",
    re.IGNORECASE,
)
_IN_STYLE = re.compile(r"\bin (?:an? |the )?((?:[\w'’-]+ ){1,3}?)style\b", re.IGNORECASE)
_NAMED_STYLE = re.compile(
    rf"\b([A-Z][\w-]+ (?:and|&) [A-Z][\w-]+|(?:(?:{_one_of(*_LOOKS)}|(?!The |This )[A-Z][\w-]+) ?){{1,3}})"
    rf"(?: styled?\b|-styled?\b(?=[,.;:\n]|$| (?:{_one_of(*_MEDIA, *_PLAIN_MEDIA)})))"
)
_SEGMENT = re.compile(
    rf"(?:^|(?<=[,.;\n]))\s*(?:in )?(?:an? )?((?:{_STYLE})(?:[ ,]+(?:{_STYLE}))*)"
    r"(?: (style|art|photo|photograph|painting|illustration|drawing|photography))?\s*(?=[,.;\n]|$)",
    re.IGNORECASE,
)
"""Styles between commas."""
_IN_MEDIUM = re.compile(
    r"(?<!-)\b(?:(?:depicted|rendered|drawn|painted|done|created|designed|presented) (?:in|as) (?:an? |the )?"
    rf"((?:[\w-]+ ){{0,2}}?(?:{_STYLE}))(?: look| style)?|(?:in|as an?) ((?:{_MEDIUM})))(?= ?(?:[,.;\n]|$))",
    re.IGNORECASE,
)
_SUPPOSING: Final = frozenset(
    listed(
        "disappears, disappear, disappearing, vanishes, vanish, lost, fades, fade, fading, recedes, or, must, might, "
        "may, could, would, if, like, unlike, perhaps, maybe, never, not"
    )
)
_BEFORE_STYLE = re.compile(r"^(?:(?:the|an?|its?|this|his|her|their|one|two|three|[a-z]+ly)(?: |$))*")
_SETTING = re.compile(rf"\b(?:{'|'.join(_SETTINGS)})\b", re.IGNORECASE)
_LIT = re.compile(rf"{_LIGHT}\Z|candlelight\Z", re.IGNORECASE)
_SHADE_OF_SETTING = re.compile(r" (?:pouring|falling|heavy|light|deep|bright|clear|warm|cold|hot|crisp),?(?= )")


def take_styles(text: str) -> tuple[str, list[str], list[str]]:
    """Return the text without the styles of the whole picture, these, and words next to them that are no style."""
    styles: list[str] = []
    unread: list[str] = []

    def take(words: str) -> None:
        style = _style_named(words)
        if style and "." not in style and style not in styles and len(styles) < _MAX_STYLES:
            styles.append(style)

    def take_view(match: re.Match[str]) -> str:
        unread.append(match[0].strip())
        return " , "

    def take_frame(match: re.Match[str]) -> str:
        is_some = match.start() > 0 and match.end(3) < match.end() and match.string[match.end(3)] == "s"
        if is_some or what_picture(match.string, match.end())[0] is Picture.THING:
            return match[0]  # `tiny drawings of trees mark the park`
        looks = [look[0].lower() for look in _LOOK.finditer(match[2])]
        rest = _LOOK.sub("", match[2]).replace("-style", "").replace(",", "").split()
        if any(attribute_of(word.lower()) is None and word.lower() not in _ART_TERMS for word in rest):
            return match[0]
        medium = match[3].lower()
        is_said = medium in _GENERAL_MEDIA and not _TECHNIQUES.isdisjoint(looks)
        looks = [*looks, *(() if is_said or medium in _PLAIN_MEDIA else (medium,))]
        for look in () if is_open else looks:
            take(look)
        unread.extend([*(looks if is_open else ()), *rest, *_unsaid(match[3], looks)])
        return re.sub(r"\b(?:an?|the)\s*$", "", match[1], flags=re.IGNORECASE) + " "

    def take_list(match: re.Match[str]) -> str:
        if _is_of_things(match):
            return match[0]
        if match[1].lower() == "black and white" and not match[2] and match.start() > 0:
            unread.append(match[1])  # `a cat, black and white`, or a photograph
            return " , "
        for look in re.split(r"\s*,\s*", match[1]):
            take(look)
        unread.extend(_unsaid(match[2] or "", re.split(r"\s*,\s*", match[1])))
        return " , "

    def take_one(match: re.Match[str]) -> str:
        before = re.findall(r"[a-z-]+", match.string[: match.start()].lower()[-24:])
        if match[0].lower().endswith("black and white") and before and is_past(before[-1]):
            return match[0]  # `a hill striped in black and white`
        if match[0].lower().startswith("in ") and before and before[-1] in _FURNISHED:
            return match[0]  # `a room decorated in a mid-century style`
        take(next(filter(None, match.groups())))
        return " "

    text = _VIEW.sub(take_view, _RENDERED.sub(take_one, _OF_BUSINESS.sub(r"\1 for\2", text)))
    text, is_open = _without_open_place(text, unread)
    text = _FRAME.sub(take_frame, text, count=2)
    for pattern in (_STYLE_OF, _IN_STYLE, _NAMED_STYLE):
        text = pattern.sub(take_one, text)
    if styles:
        text = _FRAME.sub(take_frame, text, count=1)
    return _IN_MEDIUM.sub(take_one, _SEGMENT.sub(take_list, text)), styles, unread


def _is_of_things(match: re.Match[str]) -> bool:
    """Return whether looks between commas are colours or things: `triangles in yellow, black and white`."""
    before = re.findall(r"[a-z]+", match.string[: match.start()].lower()[-24:])
    is_tool = match[1].lower() in _TOOLS and re.match(r"\s*an? ", match[0], re.IGNORECASE) is not None
    return is_tool or (bool(before) and colour_of(before[-1]) is not None)  # `a pencil, a ruler and an eraser`


def _style_named(words: str) -> str:
    """Return the one spelling of a style."""
    style = _BEFORE_STYLE.sub("", " ".join(words.lower().split()).strip(" ,.'’-"))
    return style.replace("watercolour", "watercolor").replace("closeup", "close-up").replace("close up", "close-up")


def _without_open_place(text: str, unread: list[str]) -> tuple[str, bool]:
    """Return the text without a place of a picture or of what it shows, as in `a photo of a dog on a desk`."""
    frame = _FRAME.search(text)
    picture, (start, end) = what_picture(text, frame.end()) if frame is not None else (Picture.WHOLE, (0, 0))
    if frame is not None and "framed " in frame[2].lower() and picture is Picture.WHOLE:
        picture = Picture.OPEN if start < end else Picture.WHOLE
    is_plain = frame is not None and frame[3].lower() in _PLAIN_MEDIA  # of which the grammar reads only the content
    if picture is Picture.WHOLE or not (picture is Picture.OPEN or is_plain):
        return text, False
    unread.append(text[start:end])
    return f"{text[:start]} {text[end:]}", True


def _unsaid(medium: str, looks: list[str]) -> list[str]:
    """Return the word for a photograph where its looks are those of any picture, so that no style says what it is."""
    is_said = not looks or not _OF_PHOTOGRAPHS.isdisjoint(map(str.lower, looks))
    return [medium] if medium.lower() in _PHOTOGRAPHS and not is_said else []


_RENDERED: Final = re.compile(
    r"\b(?<!in )(low[- ]poly|pixel[- ]art|voxel)(?: style)? (?=(?!(?:of|in|with|by|and|or|style)\b)[a-z])",
    re.IGNORECASE,
)
"""Looks before a noun that are never those of the thing alone: `a low poly fox`."""
_OF_BUSINESS: Final = re.compile(
    r"\b(logo) of((?: an?| the)?(?: \w+)? (?:bakery|caf[eé]|shop|company|restaurant|gym|school|store|bar|salon"
    r"|hotel|club|team|brand|startup|firm|clinic|studio|agency|business|bank|church|farm|brewery|airline)\b)",
    re.IGNORECASE,
)
"""What a logo is for, and need not show."""
_FURNISHED: Final = frozenset(
    ("decorated", "furnished", "dressed", "built", "styled", "designed", "renovated", "written", "signed", "scrawled")
)
"""Participles after which a style or a medium is that of a room or a letter, and not of the picture."""
_AT_HOUR: Final = re.compile(
    r"(?:\d|o['’]clock|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve))\s*$"
)
_IN_PICTURE: Final = re.compile(
    r"\b(?:showing|depicting|shows|depicts|(?:painting|picture|photo|photograph|poster|mural|drawing|postcard) of"
    r"|on the screen|dreaming|remembering)\b"
)
"""What begins a picture within the picture, unless the prompt begins with it."""


def _is_hedged(match: re.Match[str]) -> bool:
    """Return whether a sentence leaves a setting open: `it must be early in the morning or late in the evening`."""
    before = re.split(r"[.;:!?\n]", match.string[: match.start()])[-1].lower()
    is_one_of_two = match.string[match.end() :].lower().startswith(" or ")
    if _AT_HOUR.search(before):
        return True  # `at two in the morning`
    if _IN_PICTURE.search(before, 12):
        return True  # `a painter whose canvas shows the studio at night`
    return is_one_of_two or not _SUPPOSING.isdisjoint(re.findall(r"[\w'-]+", before))


def _is_partial(match: re.Match[str]) -> bool:
    """Return whether light falls on some things alone: `bathed in sunlight`, `one in the sun, one in the shade`."""
    before = re.findall(r"[\w'-]+", match.string[: match.start()].lower())
    return "shade" in match.string.lower() or (bool(before) and is_past(before[-1]))


def take_settings(text: str) -> tuple[str, list[str]]:
    """Return the text without time and weather, and these."""
    settings: list[str] = []

    def take(match: re.Match[str]) -> str:
        if _is_hedged(match) or (_LIT.search(match[0]) and _is_partial(match)):
            return match[0]
        setting = match[0].lower()
        setting = setting if _LIT.search(setting) else _SHADE_OF_SETTING.sub("", setting)
        setting = re.sub(r"^(?:at|by|during the) night ?(?:time)?$", "at night", setting)
        setting = re.sub(r"^(in\b.* )(?<!setting )(?<!rising )sun$", r"\1sunlight", setting)
        setting = re.sub(r"^in (?:the )?(winter|summer|autumn)(?:time)?$", r"in \1", setting)
        if setting not in settings and len(settings) < _MAX_SETTINGS:
            settings.append(setting)
        return " "

    return _SETTING.sub(take, text), settings
