"""What patterns find before the grammar reads the rest: texts, charts, times, and sentences in other languages."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from gems_actors.backends.storyboard.english.asides.abbreviations import open_abbreviations
from gems_actors.backends.storyboard.english.asides.spoken import drop_ranges, drop_times, take_times
from gems_actors.backends.storyboard.english.kinds import ANIMATE, SIGN_NOUNS, TEXT_NOUNS
from gems_actors.backends.storyboard.english.styles import take_settings, take_styles
from gems_actors.backends.storyboard.english.tokens import TEXT_MARK, is_latin
from gems_actors.backends.storyboard.english.vocabulary import ENGLISH, FOREIGN, FOREIGN_IN_NAMES, SAYING
from gems_actors.backends.storyboard.scene import Thing
from gems_actors.backends.storyboard.words import singular

MAX_TEXT_CHARACTERS: Final = 600
MAX_TEXTS: Final = 6
MAX_CHART_VALUES: Final = 12
_MAX_UNREAD_CHARACTERS: Final = 300
_QUOTED = re.compile(
    r"“([^”]{1,4000})”|\"([^\"]{1,4000})\"|「([^」]{1,4000})」|『([^』]{1,4000})』|«([^»]{1,4000})»"
    r"|(?<!\w)'([^'\n]{2,4000})'(?!\w)|(?<!\w)‘([^’\n]{2,4000})’(?!\w)"
)
_TEXT_SIGNS: Final = SIGN_NOUNS | TEXT_NOUNS | SAYING
"""Words next to which single quotation marks are those of a text: the `'legs'` of a wine are none."""
_CAPITAL = r"(?:(?:Dr|Mr|Mrs|Ms|St)\. [A-Z][\w'’-]*|[A-Z][\w'’&!-]*|\d[\w:]*(?:[.,]\d+)*%?|&)"
_CAPITALS = rf"{_CAPITAL}(?: (?:(?:of|the|and|in|on|to|for|a) ){{0,2}}{_CAPITAL})*[!?]?"
_SAYING = re.compile(
    r"\b(says?|saying|reads?|reading|spells?|spelling|titled|labell?ed|entitled|called|named"
    r"|with the (?:words?|text|message|title|slogan|caption|inscription|letters|phrase)"
    r"|the (?:words?|text|letters|phrase|name|slogan|headline|initials)|brand name) "
    rf"({_CAPITALS})"
)
_SAYS_LOWER = re.compile(
    r"\b(says|saying) ((?!the |a |an |it |that |good|hello to)[a-z][\w'’]*(?: [\w'’]+){0,5}?)"
    r"(?=[,.;!\n]|$| and (?:an?|the|some|two|three|no|his|her|its) "
    r"| (?:in|on|with|above|below|over|under|beside|behind|near|at|next to|outside) )"
)
_SIGN_CAPITALS = re.compile(
    rf"(?<!-)\b({'|'.join(sorted(SIGN_NOUNS))})(?:,|:)? ([A-Z][A-Z0-9'’&!]+(?: [A-Z0-9][A-Z0-9'’&!]*)*)\b"
)
_ANNOUNCED_CAPITALS = re.compile(
    r"\b(announc(?:es|ing)|advertis(?:es|ing)|promot(?:es|ing)|display(?:s|ing)|shows|showing|bears|bearing) "
    r"((?:[A-Z][A-Z0-9'’&!]+)(?: [A-Z0-9][A-Z0-9'’&!]*)*)(?![\w'’])"
)
_IMPERATIVE = re.compile(
    r"(^|[.!?\n]\s*)(?:please |let's |(?:can|could|would) you |i(?:['’]d| would) like you to |i want you to )?"
    r"(?:i(?:['’]d| would) like(?: to see)?|i (?:want|need)(?: to see)?|illustrate|present|display|visualize|depict"
    r"|imagine|capture|compose|craft|produce|give|sketch|create|draw|generate|paint|render|design|show)(?: me| us)? "
    r"(?=(?:an?|the|two|three)\b|\d)",
    re.IGNORECASE,
)
_CLOSE_UP = re.compile(r"\bclose up(?= (?:of|shot|view|photo|portrait)\b)", re.IGNORECASE)
_GREETING = re.compile(
    rf"(?<=with )(?:Happy|Merry|Congratulations|Congrats|Welcome|Thank You|Get Well|Good Luck|Best)(?: {_CAPITAL})+"
)
"""What is written on cakes, cards and banners."""
_AUTHOR = re.compile(r"\bby ((?:[A-Z][\w'’-]*\.? ?){1,3}(?<! ))")
"""A name after `by`, which names who made something, and nothing to draw."""
_NUMBER_TEXT = re.compile(r"\b[Tt]he (?:number (\d+)|letter ([A-Z]))\b")
_MISSING_LETTER = re.compile(
    r"\b[Tt]he (?:number \d+|letter [A-Z]) (?:is|was|has) (?:missing|absent|gone|fallen|burnt|burned|broken)\b[^.;,\n]*"
)

_CHART = re.compile(
    r"\b((?:bar|line|pie|donut) (?:chart|graph)|histogram)\b([^.;\n]*?)(?::|\bwith\b|\bshowing\b|,)\s*"
    r"((?:[^.;\n]|\.\d)*)",
    re.IGNORECASE,
)
_LABEL_FIRST = re.compile(
    r"(?:and |bars for )?([^\W\d][^\d,;:=]{0,40}?)(?:\s*[=:]\s*|\s+)(?:at |is )?(\d[\d.]*%?)(?=\s*(?:,|and\b|$))"
)
_NUMBER_FIRST = re.compile(r"(?:and )?(\d[\d.]*%)\s+(?:of |for )?([^\W\d][^\d,;:=]{0,40}?)(?=\s*(?:,|\band\b|$))")
_TIME = re.compile(r"\b(?:at |as )?(\d{1,2}:\d{2})(?: ?[ap]m)?\b|\b(?:at )?(\d{1,2}) ?o'clock\b", re.IGNORECASE)
_CLOCK = re.compile(r"\b(?:clock|watch|wristwatch|pocketwatch|stopwatch|timer)(?: face)?\b", re.IGNORECASE)


_NOT_SAID = re.compile(
    r"(?:\b(?:not|no|never|without|instead of|rather than|anything but|even|such as|like|for example"
    r"|for instance|e\.g\.|maybe|perhaps|or)"
    r"|n['’]t)[\s,]*(?:(?:say|saying|read|reading|spell|the|a|an|any|words?|text|sign|have|show|display|with)\s+){0,3}$",
    re.IGNORECASE,
)
"""What stands before a text that need not be in the picture: `does not say "OPEN"`, `such as "1876"`."""
_OR_QUOTED = re.compile(rf"\s*(?:,\s*)?or\s*(?:[\"“]|{TEXT_MARK})")
_WORD = re.compile(r"[^\W\d_]+")
_SENTENCE = re.compile(r"[^.!?\n。！？]+[.!?\n。！？]*")


@dataclass(frozen=True, slots=True)
class Time:
    """A time that a clock shows."""

    value: str
    """The time in digits, such as `3:40`."""
    words: str
    """The words of the prompt."""
    clock: str
    """The noun before it that names a clock, or an empty text."""


@dataclass(slots=True)
class Found:
    """What patterns found in a prompt."""

    texts: list[str] = field(default_factory=list)
    charts: list[Thing] = field(default_factory=list)
    times: list[Time] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """Sentences in other languages, words in other scripts, and titles of charts."""


def extract(text: str) -> tuple[str, Found]:
    """Return the prompt without what the patterns found, and what they found."""
    found = Found()
    text = _QUOTED.sub(lambda match: _take_quoted(match, found), text)
    text = _CLOSE_UP.sub("close-up", _IMPERATIVE.sub(r"\1", _take_foreign(text, found)))
    text = _GREETING.sub(lambda match: _take_text(match[0], found), text)
    text = drop_ranges(text, found.unread)
    if _CLOCK.search(text):
        text = take_times(text, lambda time, match: _note_time(time, match, found))
    text = drop_times(text, found.unread)
    text = _NUMBER_TEXT.sub(lambda match: _take_text(match[1] or match[2], found), _without_gaps(text, found))
    if sum(map(str.isupper, text)) < 2 * sum(map(str.islower, text)):
        text = _AUTHOR.sub(lambda match: _take_author(match, found), text)
        text = _SAYING.sub(lambda match: _take_saying(match, found), text)
        text = _ANNOUNCED_CAPITALS.sub(lambda match: f"{match[1]} {_take_text(match[2], found)}", text)
        text = _SIGN_CAPITALS.sub(lambda match: f"{match[1]} {_take_text(match[2], found)}", text)
    text = open_abbreviations(text, found.unread)
    text = _SAYS_LOWER.sub(lambda match: _take_said(match, found), text)
    text = _CHART.sub(lambda match: _take_chart(match, found), text)
    if _CLOCK.search(text):
        text = _TIME.sub(lambda match: _take_time(match, found), text)
    text, found.styles, unread = take_styles(text)
    found.unread += unread
    text, found.settings = take_settings(text)
    return text, found


def _without_gaps(text: str, found: Found) -> str:
    """Return the text without letters and numbers that are said to be missing."""

    def take(match: re.Match[str]) -> str:
        found.unread.append(match[0])
        return " , "

    return _MISSING_LETTER.sub(take, text)


def _take_text(words: str, found: Found) -> str:
    """Note a text, and return the mark that takes its place; what is too much of it counts as not understood."""
    text = re.sub(r"\s+", " ", words).strip().rstrip(",").replace('"', "'")
    kept, rest = text[:MAX_TEXT_CHARACTERS], text[MAX_TEXT_CHARACTERS:]
    if kept and kept not in found.texts:
        if len(found.texts) < MAX_TEXTS:
            found.texts.append(kept)
        else:
            rest = text
    if rest:
        found.unread.append(rest[:_MAX_UNREAD_CHARACTERS])
    return f" {TEXT_MARK} "


def _take_saying(match: re.Match[str], found: Found) -> str:
    """Take a text that something says or is named; the name of a person or an animal is no text of the picture."""
    before = _WORD.findall(match.string[: match.start()])[-1:]
    if _NOT_SAID.search(match.string[: match.start()]):
        found.unread.append(match[0])
        return ""
    if match[1] in {"named", "called"} and before and singular(before[0].lower()) in ANIMATE:
        found.unread.append(match[0])
        return ""
    return f"{match[1]} {_take_text(match[2], found)}"


def _take_quoted(match: re.Match[str], found: Found) -> str:
    """Take a text between quotation marks; single ones may only say that a word is not meant literally."""
    words = next(filter(None, match.groups()))
    if _NOT_SAID.search(match.string[: match.start()]) or _OR_QUOTED.match(match.string[match.end() :]):
        found.unread.append(words[:_MAX_UNREAD_CHARACTERS])
        return f" {TEXT_MARK} "
    around = (*_WORD.findall(match.string[: match.start()])[-6:], *_WORD.findall(match.string[match.end() :])[:3])
    is_said = match[0][0] not in "'‘" or words.isupper() or not _TEXT_SIGNS.isdisjoint(map(str.lower, around))
    if is_said:
        return _take_text(words, found)
    found.unread.append(words[:_MAX_UNREAD_CHARACTERS])
    return f" {TEXT_MARK} "


def _take_said(match: re.Match[str], found: Found) -> str:
    """Take what a sign says in small letters; what a person says is no text of the picture."""
    before = re.findall(r"[\w-]+", match.string[: match.start()].lower())[-3:]
    if SIGN_NOUNS.isdisjoint(before):
        return match[0]
    return f"{match[1]} {_take_text(match[2], found)}"


def _take_author(match: re.Match[str], found: Found) -> str:
    found.unread.append(match[0])
    return " , "


def _take_chart(match: re.Match[str], found: Found) -> str:
    numbers_first = [(name, number) for number, name in _NUMBER_FIRST.findall(match[3])]
    labels_first = _LABEL_FIRST.findall(match[3])
    pairs = numbers_first if len(numbers_first) > len(labels_first) else labels_first
    if len(pairs) < 2:
        return match[0]
    values = tuple((name.strip().lower(), number.rstrip(".")) for name, number in pairs)
    name = match[1].lower().replace("graph", "chart")
    found.charts.append(Thing(name, values=values[:MAX_CHART_VALUES]))
    title = re.sub(r"^\s*(?:of|about|for|on)?\s*(?:an? |the )?|\s+$", "", match[2])
    pattern = _NUMBER_FIRST if pairs is numbers_first else _LABEL_FIRST
    rest = re.sub(r"[\s,]+|\band\b", " ", pattern.sub(" , ", match[3])).strip()
    found.unread.extend(words for words in (title, rest) if words)
    return " . "


def _take_time(match: re.Match[str], found: Found) -> str:
    return _note_time(match[1] or f"{match[2]}:00", match, found)


def _note_time(time: str, match: re.Match[str], found: Found) -> str:
    """Note a time of the clock that is named last before it, in the same sentence if there is one."""
    before = match.string[: match.start()]
    named = _CLOCK.findall(re.split(r"[.!?\n]", before)[-1]) or _CLOCK.findall(before) or _CLOCK.findall(match.string)
    found.times.append(Time(time, match[0], named[-1].lower().split()[0]))
    return f" {TEXT_MARK} "


def _take_foreign(text: str, found: Found) -> str:
    """Take out sentences in other languages, and words in other scripts."""

    def take(match: re.Match[str]) -> str:
        words = [word.lower() for word in _WORD.findall(match[0])]
        strange = [word for word in words if word in FOREIGN]
        english = sum(word in ENGLISH for word in words)
        is_foreign = len(strange) > english and (
            len(strange) > 1 or strange[0] not in FOREIGN_IN_NAMES or words[0] == strange[0]
        )
        if not is_foreign:
            return match[0]
        found.unread.append(match[0].replace(TEXT_MARK, "").strip(" .!?\n。！？")[:_MAX_UNREAD_CHARACTERS])
        return " . "

    text = _SENTENCE.sub(take, text)
    return re.sub(r"[^\W\d_]+(?:[\s、，]*[^\W\d_]+)*", lambda match: _take_script(match[0], found), text)


def _take_script(run: str, found: Found) -> str:
    """Take words that are not in Latin letters out of a run of words."""
    if run.isascii() or is_latin(run):
        return run
    kept: list[str] = []
    strange: list[str] = []
    for word in [*run.split(), "a"]:
        if is_latin(word):
            if strange:
                found.unread.append(" ".join(strange)[:_MAX_UNREAD_CHARACTERS])
                kept.append(",")
                strange = []
            kept.append(word)
        else:
            strange.append(word)
    return " ".join(kept[:-1])
