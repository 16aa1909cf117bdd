"""Thinking is parted from the answer in each format, and an answer that never comes is an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gems_actors.backends.thinking import UnfinishedThinkingError, part_thinking

THOUGHT = "No, it is not red.\nWait: it is."

TAGS = [
    ("<think>", "</think>"),
    ("◁think▷", "◁/think▷"),
    ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<unused94>thought\n", "<unused95>"),
    ("[unused16]", "[unused17]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|think|>", "<|end|><|begin|>assistant<|content|>"),
    ("<thought>", "</thought>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<analysis>", "</analysis>"),
]
PHRASES = [
    ("Here is my thought process:", "Here is my response:"),
    ("Here's my thought process:", "Here's my response:"),
    ("analysis", "assistantfinal"),
]
HARMONY = "<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"
ANSWERS = ["yes, it is red", '{"prompt": "a sign that reads </think> and [/THINK]"}', '```json\n{"skill": null}\n```']


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize(("opening", "closing"), [*TAGS, *PHRASES, HARMONY])
def test_thinking_is_parted_in_each_format(opening: str, closing: str, answer: str) -> None:
    for begin in ("", "\n "):
        for between in ("", "\n\n"):
            thought, text = part_thinking(f"{begin}{opening}{between}{THOUGHT}{between}{closing}{between}{answer}")
            assert (thought, text.strip()) == (THOUGHT, answer)


@pytest.mark.parametrize(("opening", "closing"), [*TAGS, HARMONY])
def test_thinking_that_the_chat_template_opened_is_parted(opening: str, closing: str) -> None:
    assert part_thinking(f"{THOUGHT}{closing}\n\nyes") == (THOUGHT, "\n\nyes")
    assert part_thinking(f"{opening}{closing}yes") == ("", "yes"), "no thinking at all"


@pytest.mark.parametrize(("opening", "closing"), [*TAGS, *PHRASES[:2], HARMONY])
def test_thinking_without_an_end_is_no_answer(opening: str, closing: str) -> None:
    with pytest.raises(UnfinishedThinkingError, match="No, it is not red"):
        part_thinking(f"{opening}{THOUGHT}")
    if (opening, closing) in TAGS:
        with pytest.raises(UnfinishedThinkingError):
            part_thinking(f"yes{opening}{THOUGHT}")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>a</think><think>b</think>no", "no"),
        ("<think>a</think>yes<think>b</think>no", "no"),
        ("<think>a</think>\n<answer>\nyes\n</answer>", "yes"),
        ("<think>\n\n</think>\n<answer>yes", "yes"),
        ("<think>a</think><response>yes</response>", "yes"),
        ("<think>a</think><|begin_of_box|>yes<|end_of_box|>", "yes"),
        ("<|begin_of_box|>yes<|end_of_box|>", "yes"),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>yes<|END_RESPONSE|><|END_OF_TURN_TOKEN|>", "yes"),
        ("<|open|>think<|sep|>a<|close|>think<|sep|><|open|>response<|sep|>yes<|close|>response<|sep|>"
         "<|close|>message<|sep|>", "yes"),
        ("<think>a</think>yes<|im_end|>\n", "yes"),
        ("yes</s>", "yes"), ("yes<|eot_id|><|eot_id|>", "yes"), ("yes<end_of_turn>\n", "yes"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary<|message|>b<|end|>"
         "<|start|>assistant<|channel|>final<|message|>yes<|return|>", "yes"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>1", "1"),
        ("<|channel|>final<|message|>yes", "yes"),
        ('{"skill": null}<|im_end|>', '{"skill": null}'),
        ('{"skill": "hats"}? No.</think>{"skill": null}', '{"skill": null}'),
    ],
)  # fmt: skip
def test_the_answer_is_what_follows_the_last_thinking_without_its_wrapping(text: str, answer: str) -> None:
    assert part_thinking(text)[1].strip() == answer


@pytest.mark.parametrize(
    "text", ["yes", "", " \n", "analysis shows a red cat", "Here is my response: yes", "a <b> c", *ANSWERS]
)
def test_a_text_without_thinking_is_left_as_it_is(text: str) -> None:
    assert part_thinking(text) == ("", text)


def test_a_tool_call_and_analysis_alone_are_no_answer() -> None:
    with pytest.raises(UnfinishedThinkingError):
        part_thinking(
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary to=x<|message|>{}<|call|>"
        )


_MARKS = st.sampled_from([mark for pair in [*TAGS, *PHRASES, HARMONY] for mark in pair])


@given(
    st.lists(
        _MARKS | st.text(max_size=4) | st.sampled_from(['{"', '"', "```", "yes", "</answer>", "<|im_end|>"]),
        max_size=12,
    )
)
def test_any_text_is_parted_or_an_error(pieces: list[str]) -> None:
    text = "".join(pieces)
    try:
        thought, answer = part_thinking(text)
    except UnfinishedThinkingError:
        return
    assert len(thought) + len(answer) <= len(text) + 2 * len(pieces)


@pytest.mark.slow
def test_a_hostile_text_is_read_in_a_moment() -> None:
    for text in (
        "</think>" * 100_000,
        " " * 1_000_000,
        "<|im_end|> " * 100_000,
        '{"' * 200_000,
        "<|channel|>" * 100_000,
    ):
        try:
            part_thinking(text)
        except UnfinishedThinkingError:
            continue
