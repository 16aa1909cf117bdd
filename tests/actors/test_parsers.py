"""Whatever the text, a parser raises only the error that asks a model to repair its answer."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.compressor import MAX_WORDS, cut_lesson, parse_lesson
from actors.decomposer import parse_requirements
from actors.planner import parse_route, parse_written
from actors.refiner import parse_refined
from actors.verifier import parse_verdict
from gems_actors.errors import ModelOutputError
from protocol.limits import MAX_PROMPT_CHARS, MAX_REQUIREMENTS

PARSERS: dict[str, Callable[[str], object]] = {
    "route": lambda text: parse_route(text, ["hats"]),
    "written": parse_written,
    "requirements": parse_requirements,
    "verdict": parse_verdict,
    "lesson": parse_lesson,
    "cut lesson": cut_lesson,
    "refined": parse_refined,
}

_KEYS = st.sampled_from(["skill", "prompt", "diagnosis", "id", "question", "kind", "depends_on", "other"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from(["r1", "r2", "object", "hats"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=12,
)
_TEXTS = (
    st.text(st.characters()) | _VALUES.map(json.dumps) | _VALUES.map(lambda value: f"```json\n{json.dumps(value)}\n```")
)


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=150, deadline=None)
@given(text=_TEXTS)
def test_any_text_is_an_answer_or_a_model_output_error(name: str, text: str) -> None:
    said = "expected"
    try:
        PARSERS[name](text)
    except ModelOutputError as error:
        said = str(error)
    assert "expected" in said
    assert len(said) < 1000, "it becomes part of the next turn"


@pytest.mark.parametrize(
    ("text", "answer", "reason"),
    [
        ("yes", "met", ""),
        ("Yes.", "met", ""),
        ("**Yes** - the knot is tied", "met", "the knot is tied"),
        ('"no"', "unmet", ""),
        ("_no_", "unmet", ""),
        ("NO, yes it looks so at first", "unmet", "yes it looks so at first"),
        ("no\nThere are two.", "unmet", "There are two"),
        ("\n unsure: it is hidden", "unsure", "it is hidden"),
        ("“Unsure”", "unsure", ""),
        ("yes—plainly", "met", "plainly"),
    ],
)
def test_the_first_word_is_the_verdict_and_the_rest_its_reason(text: str, answer: str, reason: str) -> None:
    assert parse_verdict(text) == (answer, reason)


@pytest.mark.parametrize(
    "text",
    ["", "not sure", "I know", "yesterday", "None", "nothing", "know", "no-one is there", "yes/no", "yes / no",
     "Yes or no? Hard to tell.", "yes and no", "noyes", "yes2", "no_1", "The answer is yes", "Unsurely", "sure",
     "ye\u017f", "not yes", "1. yes", "met"],
)  # fmt: skip
def test_other_words_are_not_a_verdict(text: str) -> None:
    with pytest.raises(ModelOutputError, match="expected yes, no or unsure"):
        parse_verdict(text)


def test_a_long_reason_is_cut() -> None:
    assert len(parse_verdict("no " + "x" * 10_000)[1]) == 500


def test_a_skill_is_chosen_by_its_exact_id_or_not_at_all() -> None:
    assert parse_route('{"skill": "hats"}', ["hats"]) == "hats"
    assert parse_route('{"skill": null, "why": "plain"}', ["hats"]) is None
    for text in ('{"skill": "Hats"}', '{"skill": "NONE"}', '{"skill": ""}', "{}", '"hats"', "hats", "null"):
        with pytest.raises(ModelOutputError):
            parse_route(text, ["hats"])


@pytest.mark.parametrize("prompt", ["", " \n", "x" * (MAX_PROMPT_CHARS + 1)])
def test_empty_and_too_long_prompts_are_errors(prompt: str) -> None:
    text = json.dumps({"prompt": prompt, "diagnosis": "too few owls"})
    for parse in (parse_written, parse_refined):
        with pytest.raises(ModelOutputError, match="expected a prompt"):
            parse(text)


def test_a_refinement_is_a_diagnosis_and_a_prompt() -> None:
    assert parse_refined('{"diagnosis": " too few ", "prompt": " three owls "}') == ("too few", "three owls")
    with pytest.raises(ModelOutputError, match="expected JSON"):
        parse_refined('{"prompt": "three owls"}')


def requirements_json(*rows: tuple[str, str | None]) -> str:
    found = [{"id": id_, "question": "Is it?", "kind": "object", "depends_on": on} for id_, on in rows]
    return json.dumps({"requirements": found})


def test_requirements_keep_their_order_and_parents() -> None:
    found = parse_requirements(requirements_json(("b", "a"), ("a", None)))
    assert [(item.id, item.depends_on) for item in found] == [("b", "a"), ("a", None)]


def test_a_prompt_without_demands_has_no_requirements() -> None:
    assert parse_requirements('{"requirements": []}') == ()


def test_a_question_is_one_line() -> None:
    found = parse_requirements('{"requirements": [{"id": "a", "question": " Is\\n it? ", "kind": "other"}]}')
    assert (found[0].question, found[0].depends_on) == ("Is it?", None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (requirements_json(("a", None), ("a", None)), "each id once, got 'a' twice"),
        (requirements_json(("a", "b")), "a: expected depends_on to be another requirement's id, got 'b'"),
        (requirements_json(("a", "")), "a: expected depends_on"),
        (requirements_json(("a", "a")), "a: expected no circle"),
        (requirements_json(("a", "b"), ("b", "c"), ("c", "b")), "expected no circle"),
        (
            requirements_json(*((f"r{n}", None) for n in range(MAX_REQUIREMENTS + 1))),
            "at most 64 requirements, got 65",
        ),
        ('{"requirements": [{"id": "a", "question": " ", "kind": "object"}]}', "a: expected a question"),
        ('{"requirements": [{"id": "a", "question": "", "kind": "object"}]}', "expected JSON of the form"),
        ('{"requirements": [{"id": "", "question": "Is it?", "kind": "object"}]}', "expected JSON of the form"),
        ('{"requirements": [{"id": "a", "question": "Is it?", "kind": "mood"}]}', "expected JSON of the form .*mood"),
        ('{"requirements": [{"id": 1, "question": "Is it?", "kind": "object"}]}', "expected JSON of the form"),
        ("[]", "expected JSON of the form"),
        ("Is there a cat?\nIs it red?", "expected JSON of the form"),
    ],
)
def test_invalid_requirements_are_errors(text: str, expected: str) -> None:
    with pytest.raises(ModelOutputError, match=expected):
        parse_requirements(text)


def test_a_chain_as_long_as_the_limit_is_not_a_circle() -> None:
    rows = [("r0", None), *((f"r{n}", f"r{n - 1}") for n in range(1, MAX_REQUIREMENTS))]
    assert len(parse_requirements(requirements_json(*rows))) == MAX_REQUIREMENTS


def test_a_lesson_has_at_most_100_words() -> None:
    assert parse_lesson(" word" * MAX_WORDS) == " ".join(["word"] * MAX_WORDS)
    with pytest.raises(ModelOutputError, match="at most 100 words, got 101"):
        parse_lesson("word " * 101)
    with pytest.raises(ModelOutputError, match="at most 2000 characters, got 2001"):
        parse_lesson("x" * 2001)
    with pytest.raises(ModelOutputError, match="a lesson"):
        parse_lesson(" ")


@pytest.mark.parametrize("character", ["字", "か", "カ", "ー", "々", "ｶ", "\U00020bb7"])
def test_in_scripts_without_spaces_each_character_is_a_word(character: str) -> None:
    assert parse_lesson(character * 100)
    assert parse_lesson(f"{character}。" * 100), "punctuation is not a word"
    with pytest.raises(ModelOutputError, match="at most 100 words, got 101"):
        parse_lesson(character * 101)


def test_words_and_characters_of_a_mixed_lesson_are_counted_together() -> None:
    nine = " 「OPEN」 comes first，因为招牌太小。"
    assert parse_lesson(" word" * 91 + nine)
    with pytest.raises(ModelOutputError, match="at most 100 words, got 101"):
        parse_lesson(" word" * 92 + nine)


def test_a_long_lesson_is_cut_after_its_last_whole_sentence() -> None:
    assert cut_lesson("Short already") == "Short already"
    assert cut_lesson("Say it first, in 3.5 words. " + "word " * 200) == "Say it first, in 3.5 words."
    assert cut_lesson("One two. " * 60) == "One two. " * 49 + "One two."
    assert cut_lesson("word " * 150) == ("word " * 100).rstrip()
    assert cut_lesson("字" * 1500) == "字" * 100
    assert cut_lesson("把招牌写在最前面。" * 200) == "把招牌写在最前面。" * 12
    assert cut_lesson("x" * 3000) == "x" * 2000


@given(st.lists(st.text("ab.!? 字か。」", min_size=1, max_size=9), max_size=150).map(" ".join))
def test_a_cut_lesson_is_a_lesson(text: str) -> None:
    try:
        lesson = cut_lesson(text)
    except ModelOutputError:
        assert not text.strip()
    else:
        assert parse_lesson(lesson) == lesson
        assert text.strip().startswith(lesson)
