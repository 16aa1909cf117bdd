"""Full-text search: which words find which prompts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.memory_store.full_text import WordIndex, split_words
from tests.actors.memory_store.records import open_store, story


@contextmanager
def index_of(folder: Path, *prompts: str, **limits: int) -> Iterator[WordIndex]:
    with open_store(folder) as store:
        for line, prompt in enumerate(prompts):
            store.append(story("run", line, prompt=prompt))
        store.index.flush()
        yield WordIndex(store.index.connection, **limits)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A red fox, left of two dogs!", "red fox left two dogs"),
        ("snake_case-And:more", "snake case more"),
        ("红色的大象", "红色 色的 的大 大象"),
        ("红 fox大象up", "红 fox 大象 up"),
        ("ひらがなABC", "ひら らが がな ABC"),
        ("?! …", ""),
    ],
)
def test_a_text_is_split_at_spaces_or_into_pairs_where_a_script_has_none(text: str, words: str) -> None:
    assert split_words(text) == words


def test_the_prompt_that_shares_the_rarest_words_comes_first(tmp_path: Path) -> None:
    prompts = ["a red fox", "a red dog", "a red cat on a mat", "a blue umbrella"]
    with index_of(tmp_path, *prompts) as index:
        assert next(iter(index.find_similar("the fox, which is red", 10))) == 1
        assert next(iter(index.find_similar("an Umbrella of a cat", 10))) in (3, 4)
        assert set(index.find_similar("umbrellas and cats", 10)) == {3, 4}
        assert [*index.find_similar("nothing of the kind", 10)] == []
        assert len(index.find_similar("red", 2)) == 2


def test_a_prompt_that_is_far_less_similar_than_the_best_is_not_found(tmp_path: Path) -> None:
    prompts = ["a red fox under a stone bridge", *(f"a red thing{number}" for number in range(6)), "a blue cat"]
    with index_of(tmp_path, *prompts) as index:
        assert [*index.find_similar("red foxes under bridges of stone", 10)] == [1]


def test_prompts_in_chinese_are_found_by_their_characters(tmp_path: Path) -> None:
    with index_of(tmp_path, "一只红色的大象在树下", "两只蓝色的猫") as index:
        assert next(iter(index.find_similar("红色的大象", 10))) == 1
        assert next(iter(index.find_similar("蓝色的狗", 10))) == 2


@pytest.mark.parametrize("text", ["", '"', "NEAR(", "a AND b OR", "words : x*", "-", "'; DROP TABLE prompts; --", "\0"])
def test_no_text_makes_a_query_fail(tmp_path: Path, text: str) -> None:
    with index_of(tmp_path, "a red fox") as index:
        assert len(index.find_similar(text, 10)) <= 1


def test_words_that_nearly_all_prompts_have_are_not_read(tmp_path: Path) -> None:
    with index_of(tmp_path, *(f"a red animal{line}" for line in range(10)), max_read=5, common_from=8) as index:
        assert [*index.find_similar("a red animal7", 10)] == [8]
        assert index.common_words == {"red"}
        assert [*index.find_similar("a red animal3", 10)] == [4]
