import numpy as np
from awkward import Case

from retdm.criteria.mistakes import worst_decisions


def reference(case: Case, most: int) -> list[int]:
    """The definition as loops."""
    errors = []
    for i, (scores, target, known, predicted) in enumerate(zip(*case, strict=True)):
        cells = [
            abs(float(s) - int(t)) for s, t, k, p in zip(scores, target, known, predicted, strict=True) if k and p != t
        ]
        if cells:
            errors.append((-sum(cells), i))
    return [i for _, i in sorted(errors)[:most]]


def test_equals_the_definition(case: Case) -> None:
    for most in (0, 1, 5, 1000):
        assert worst_decisions(*case, most).tolist() == reference(case, most)


def test_an_image_that_is_decided_rightly_or_unknown_is_no_mistake() -> None:
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.1], [0.5, 0.6]])
    target = np.array([[1, 0], [0, 1], [1, 0], [0, 0]])
    known = np.array([[True, True], [False, False], [True, True], [True, True]])
    assert worst_decisions(scores, target, known, scores >= 0.5, 9).tolist() == [3, 2]  # 1.1, then .6


def test_a_wrong_decision_counts_though_its_score_is_right() -> None:
    """Under a threshold of its own a label of score 1 may be left out."""
    assert worst_decisions([[1.0], [1.0]], [[1], [1]], [[True], [True]], [[True], [False]], 9).tolist() == [1]
