"""What a further image is expected to gain."""

from __future__ import annotations

from random import Random

import pytest
from msgspec import structs

from gems_actors.app.bulk.images.gains import GainTable, Standing, standings_of
from protocol.messages import DrawPicture, Requirement, Verdict
from tests.gems_actors.app.bulk.images.worlds import picture_of

TASK = DrawPicture(run="r", prompt="p", seed=0)


def test_a_trajectory_stands_as_its_best_attempt_so_far() -> None:
    standings = standings_of(picture_of(TASK, [3, 5, 1]))
    assert standings == (
        Standing(1, ("action", "attribute", "text")),
        Standing(2, ("action", "attribute", "text")),
        Standing(3, ("action",)),
    )


def test_words_that_were_not_understood_can_be_met_by_no_image() -> None:
    picture = picture_of(TASK, [1])
    lost = Requirement(id="x", question="?", kind="other", not_understood="quuxly")
    attempt = picture.attempts[0]
    verdicts = (*attempt.verdicts, Verdict(requirement="x", answer="unsure"))
    picture = structs.replace(
        picture,
        requirements=(*picture.requirements, lost),
        attempts=(structs.replace(attempt, verdicts=verdicts),),
    )
    assert standings_of(picture) == (Standing(1, ("action",)),)


def test_before_anything_is_known_more_unmet_requirements_promise_more() -> None:
    table = GainTable()
    gains = [table.expected_gain(Standing(1, ("count",) * unmet)) for unmet in range(5)]
    assert gains[0] == 0
    assert gains == sorted(set(gains))


def test_gains_are_learned_by_round_number_and_kinds() -> None:
    table = GainTable()
    easy, hard, later = Standing(1, ("count",)), Standing(1, ("text",)), Standing(4, ("count",))
    table.observe([(easy, Standing(2, ()))] * 50 + [(hard, Standing(2, hard.unmet))] * 50)
    table.observe([(later, Standing(5, later.unmet))] * 50)
    assert table.expected_gain(easy) == pytest.approx(1, abs=0.1)
    assert table.expected_gain(hard) == pytest.approx(0, abs=0.1)
    assert table.expected_gain(later) == pytest.approx(0, abs=0.1)
    unseen = Standing(1, ("style",))
    assert table.expected_gain(hard) < table.expected_gain(unseen) < table.expected_gain(easy)


def test_a_picture_that_is_worse_loses_nothing_because_the_better_one_is_kept() -> None:
    table = GainTable()
    table.observe([(Standing(1, ("count",)), Standing(2, ("count", "text")))])
    assert table.sums["1"] == (1, 0)


def test_the_order_of_the_observations_changes_nothing() -> None:
    random = Random(3)
    pairs = [
        (Standing(1, ("count",) * random.randint(1, 4)), Standing(2, ("count",) * random.randint(0, 3)))
        for _ in range(200)
    ]
    tables = [GainTable(), GainTable()]
    tables[0].observe(pairs)
    tables[1].observe(random.sample(pairs, len(pairs)))
    assert tables[0].sums == tables[1].sums
    assert GainTable(tables[0].sums).expected_gain(pairs[0][0]) == tables[1].expected_gain(pairs[0][0])
