"""Whatever the text, a parser raises only the error that asks a model to repair its answer."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.decomposer import parse_requirements
from actors.lessons import MAX_WORDS, cut_lesson, parse_lesson
from actors.planner import parse_route, parse_written
from actors.refiner import parse_refined
from actors.verifying.questions import RULES, parse_batch, parse_verdict
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
@pytest.mark.slow
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
     "ye\u017f", "not yes", "1. yes", "met", "yes, no or unsure", "yes, no, or unsure", "Yes, or no", "yes | no",
     "yes\nno\nunsure", "yes, no", "No, yes.", "yes no unsure"],
)  # fmt: skip
def test_other_words_are_not_a_verdict(text: str) -> None:
    with pytest.raises(ModelOutputError, match="expected yes, no or unsure"):
        parse_verdict(text)


def test_an_answer_that_repeats_the_instructions_is_not_a_verdict() -> None:
    words = RULES[RULES.index("yes: ") : RULES.index("\n\nLook before")]
    with pytest.raises(ModelOutputError, match="repeats the example of the instructions"):
        parse_verdict(words)
    assert parse_verdict("yes: the picture plainly shows it.")[0] == "met", "one definition may be an answer"


@pytest.mark.parametrize("said", ["yes", "Yes.", " YES ", '"yes"', "**yes**"])
def test_a_batch_has_a_word_for_each_question(said: str) -> None:
    (verdict,) = parse_batch(json.dumps({"answers": [{"id": "r1", "answer": said, "reason": "seen"}]}), ["r1"])
    assert (verdict.answer, verdict.reason) == ("met", "seen")
    for other in ("yes, no or unsure", "yes/no", "maybe", ""):
        with pytest.raises(ModelOutputError):
            parse_batch(json.dumps({"answers": [{"id": "r1", "answer": other}]}), ["r1"])


def test_a_long_reason_is_cut() -> None:
    assert len(parse_verdict("no " + "x" * 10_000)[1]) == 500


@pytest.mark.parametrize("said", ["hats", "Hats", " hats\n"])
def test_a_skill_is_chosen_by_its_id(said: str) -> None:
    assert parse_route(json.dumps({"skill": said}), ["hats", "caps"]) == "hats"


@pytest.mark.parametrize("said", [None, "null", "None", "none", "NONE", "", " ", "n/a", "nil", "-"])
def test_null_and_words_for_it_choose_no_skill(said: str | None) -> None:
    assert parse_route(json.dumps({"skill": said, "why": "plain"}), ["hats"]) is None


@pytest.mark.parametrize(
    "text",
    ["{}", '"hats"', "hats", "null", '{"skill": "hat"}', '{"skill": 1}', '{"skill": ["hats"]}', '{"skill": "HATS"}'],
)
def test_any_other_answer_chooses_nothing(text: str) -> None:
    with pytest.raises(ModelOutputError):
        parse_route(text, ["hats", "Hats"])


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (PARSERS["route"], '{"skill": "the-id"}'),
        (PARSERS["route"], '{"skill": "ID"}'),
        (parse_written, '{"prompt": "..."}'),
        (parse_refined, '{"diagnosis": "...", "prompt": "…"}'),
    ],
)
def test_an_answer_that_repeats_the_example_is_refused_by_name(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(ModelOutputError, match="repeats the example of the instructions"):
        parse(text)


@pytest.mark.parametrize("prompt", ["", " \n", "x" * (MAX_PROMPT_CHARS + 1)])
def test_empty_and_too_long_prompts_are_errors(prompt: str) -> None:
    text = json.dumps({"prompt": prompt, "diagnosis": "too few owls"})
    for parse in (parse_written, parse_refined):
        with pytest.raises(ModelOutputError, match="expected a prompt"):
            parse(text)


def test_a_refinement_is_a_diagnosis_and_a_prompt() -> None:
    refined = parse_refined('{"diagnosis": " too few ", "prompt": " three owls "}')
    assert (refined.action, refined.diagnosis, refined.prompts) == ("rewrite", "too few", ("three owls",))
    with pytest.raises(ModelOutputError, match="expected JSON"):
        parse_refined('{"prompt": "three owls"}')


def requirements_json(*rows: tuple[str, str | None]) -> str:
    found = [{"id": id_, "question": "Is it?", "kind": "object", "depends_on": on} for id_, on in rows]
    return json.dumps({"requirements": found})


def test_requirements_keep_their_order_and_parents() -> None:
    found = parse_requirements(requirements_json(("b", "a"), ("a", None)))
    assert [(item.id, item.depends_on) for item in found] == [("b", "a"), ("a", None)]


@pytest.mark.parametrize("nothing", [None, "a", " a ", "", "null", "None", "N/A", "none", [], [None], ["a"], ["null"]])
def test_a_dependency_on_itself_or_on_nothing_is_dropped(nothing: object) -> None:
    row = {"id": "a", "question": "Is it?", "kind": "Object", "depends_on": nothing}
    (found,) = parse_requirements(json.dumps({"requirements": [row]}))
    assert (found.id, found.kind, found.depends_on) == ("a", "object", None)


def test_numbers_name_requirements_and_a_repeated_one_counts_once() -> None:
    rows: list[dict[str, object]] = [
        {"id": 1, "question": "Is it?", "kind": "object"},
        {"id": 2, "question": "Is it red?", "kind": "attribute", "depends_on": 1},
        {"id": 3, "question": "Is it round?", "kind": "attribute", "depends_on": ["1"]},
    ]
    found = parse_requirements(json.dumps({"requirements": [*rows, rows[1], rows[1]]}))
    assert [(item.id, item.depends_on) for item in found] == [("1", None), ("2", "1"), ("3", "1")]


def test_the_last_answer_loses_dependencies_that_make_no_sense() -> None:
    text = requirements_json(("a", "b"), ("b", "a"), ("c", "x"), ("d", "a"))
    found = parse_requirements(text, is_last=True)
    assert [(item.id, item.depends_on) for item in found] == [("a", None), ("b", "a"), ("c", None), ("d", "a")]


def test_a_prompt_without_demands_has_no_requirements() -> None:
    assert parse_requirements('{"requirements": []}') == ()


def test_a_question_is_one_line() -> None:
    found = parse_requirements('{"requirements": [{"id": "a", "question": " Is\\n it? ", "kind": "other"}]}')
    assert (found[0].question, found[0].depends_on) == ("Is it?", None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (requirements_json(("a", None), ("b", None), ("a", "b")), "each id once, got 'a' twice"),
        (requirements_json(("a", "b")), "a: expected depends_on to be another requirement's id, got 'b'"),
        (
            '{"requirements": [{"id": "a", "question": "Is it?", "kind": "object", "depends_on": ["b", "c"]}]}',
            "a: expected",
        ),
        (
            '{"requirements": [{"id": "a", "question": "Is it?", "kind": "object", "depends_on": {}}]}',
            "a: expected JSON",
        ),
        (requirements_json(("a", "b"), ("b", "c"), ("c", "b")), "expected no circle"),
        (
            requirements_json(*((f"r{n}", None) for n in range(MAX_REQUIREMENTS + 1))),
            "at most 64 requirements, got 65",
        ),
        ('{"requirements": [{"id": "a", "question": " ", "kind": "object"}]}', "a: expected a question"),
        ('{"requirements": [{"id": "a", "question": "", "kind": "object"}]}', "a: expected a question"),
        ('{"requirements": [{"id": "", "question": "Is it?", "kind": "object"}]}', "expected JSON of the form"),
        ('{"requirements": [{"id": "a", "question": "Is it?", "kind": "mood"}]}', "expected JSON of the form .*mood"),
        ('{"requirements": [{"id": true, "question": "Is it?", "kind": "object"}]}', "expected JSON of the form"),
        ('{"requirements": [{"id": "a", "question": null, "kind": "object"}]}', "expected JSON of the form"),
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
