import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from rec_rl.data.labels import Answer, Choice
from rec_rl.labelling.agreement import agreement, cohens_kappa, krippendorffs_alpha
from rec_rl.labelling.annotators import judge_annotators, probability_by_chance
from rec_rl.labelling.questions import num_questions, question_at


def answers_of(name: str, num_pairs: int, care: float, seed: int) -> list[Answer]:
    """An annotator who sees the better session with probability ``care`` and else answers at random."""
    rng = np.random.default_rng(seed)
    given = []
    for place in range(num_questions(num_pairs)):
        question = question_at(place, annotator=name, seed=0)
        a_is_better = question.pair % 2 == 0
        choice: Choice = "left" if a_is_better == question.a_on_left else "right"
        if rng.random() >= care:
            choice = "left" if rng.random() < 0.5 else "right"
        given.append(
            Answer(
                annotator=name,
                place=place,
                pair=question.pair,
                a_on_left=question.a_on_left,
                is_repeat=question.is_repeat,
                choice=choice,
                seconds=2.0,
            )
        )
    return given


def test_measures_are_the_libraries():
    pairs = np.array([[1, 1], [1, 0], [0, 0], [0.5, 0.5], [0.5, 1], [0, 0]])
    assert cohens_kappa(pairs) == pytest.approx(cohen_kappa_score([2, 2, 0, 1, 1, 0], [2, 0, 0, 1, 2, 0]))
    # observed 4/6; expected (2*2 + 2*1 + 2*3)/36 = 1/3, so (2/3 - 1/3) / (2/3) = 1/2
    assert cohens_kappa(pairs) == pytest.approx(0.5)
    ratings = np.array([[1, 1, np.nan], [0, 0, 0.5], [1, 0.5, 1], [0, np.nan, 0]])
    expected = krippendorff.alpha(ratings.T, level_of_measurement="ordinal", value_domain=[0, 0.5, 1])
    assert krippendorffs_alpha(ratings) == pytest.approx(expected)
    assert np.isnan(cohens_kappa(np.ones((4, 2))))
    assert np.isnan(krippendorffs_alpha(np.ones((4, 2))))


def test_chance_of_agreeing_by_hand():
    # own answers are 1 and 0 alike often: chance .5 at each of 4, all of them agree: 1/16
    assert probability_by_chance([(1, 1), (0, 0), (1, 1), (0, 0)], [1, 0]) == pytest.approx(1 / 16)
    # who always says "equal" agrees with everyone who does, and that proves nothing
    assert probability_by_chance([(0.5, 0.5)] * 20, [0.5] * 30) == 1.0


def test_careful_annotators_pass_and_one_who_answers_at_random_is_flagged():
    answers = [
        *answers_of("ann", 120, 0.95, 1),
        *answers_of("ben", 120, 0.8, 2),
        *answers_of("dice", 120, 0.0, 3),
    ]
    found = agreement(answers)
    assert {a.name: a.at_random for a in found.annotators} == {"ann": False, "ben": False, "dice": True}
    assert found.kappa["ann", "ben"].value > 0.5 > abs(found.kappa["ann", "dice"].value)
    assert found.kappa["ann", "ben"].low > 0
    assert found.alpha is not None
    assert found.alpha.low < found.alpha.value < found.alpha.high
    told = "\n".join(found.sentences())
    assert "dice: 133 answers" in told
    assert told.count("FLAGGED") == 1


def test_one_who_always_takes_the_left_is_flagged_by_the_swapped_repeats():
    answers = [Answer(**{**vars(a), "choice": "left"}) for a in answers_of("lefty", 120, 1.0, 1)]
    (lefty,) = judge_annotators(answers)
    assert lefty.same == 0
    assert lefty.share_left == 1
    assert lefty.at_random


def test_share_of_random_annotators_that_pass_and_careful_ones_that_are_flagged():
    def share_flagged(care: float) -> float:
        found = [judge_annotators(answers_of("x", 270, care, seed))[0] for seed in range(40)]
        return float(np.mean([annotator.at_random for annotator in found]))

    assert share_flagged(0.0) > 0.85
    assert share_flagged(0.85) < 0.05


def test_few_answers_are_not_judged():
    (found,) = judge_annotators(answers_of("new", 20, 0.0, 0))
    assert found.chance is None
    assert not found.at_random
    assert "too few" in str(found)
    assert agreement([]).sentences() == []
