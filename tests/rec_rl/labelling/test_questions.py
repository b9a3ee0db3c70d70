from rec_rl.labelling.questions import REPEAT_EVERY, num_questions, question_at


def questions(annotator: str, places: int = 200):
    return [question_at(place, annotator=annotator, seed=1) for place in range(places)]


def test_everyone_is_asked_about_every_pair_once_in_one_order():
    for annotator in ("ann", "ben"):
        new = [q.pair for q in questions(annotator) if not q.is_repeat]
        assert new == list(range(180))


def test_every_tenth_question_repeats_an_earlier_one_with_sides_swapped():
    asked = questions("ann")
    repeats = [q for q in asked if q.is_repeat]
    assert [q.place for q in repeats] == list(range(REPEAT_EVERY - 1, 200, REPEAT_EVERY))
    for repeat in repeats:
        first = next(q for q in asked if q.pair == repeat.pair)
        assert 5 <= repeat.place - first.place <= 9
        assert repeat.a_on_left != first.a_on_left


def test_sides_are_dealt_evenly_and_differently_to_each():
    ann, ben = ([q.a_on_left for q in questions(name)] for name in ("ann", "ben"))
    assert 70 < sum(ann) < 130
    assert ann != ben
    assert ann == [q.a_on_left for q in questions("ann")]


def test_number_of_questions_counts_the_repeats():
    assert [num_questions(pairs) for pairs in (1, 8, 9, 10, 18)] == [1, 8, 10, 11, 20]
    for pairs in (1, 8, 9, 10, 18, 100):
        assert max(q.pair for q in questions("ann", num_questions(pairs))) == pairs - 1
