"""The threshold keeps its promise, or says that it cannot be made."""

import numpy as np
import pytest
from scipy.stats import binomtest

from core.prediction import Decision
from workers.evaluation.selective import (
    CAUTIOUS,
    LOWEST,
    NEVER,
    choose_robustly,
    choose_threshold,
    decide_all,
    design_effect,
    fewest_slices,
    upper_bound,
    worth,
)

Arrays = tuple[np.ndarray, np.ndarray]


def answers(confidence: np.ndarray, wrong: np.ndarray) -> Arrays:
    """Answers that all name class 0, and labels that make them right or wrong."""
    rest = (1 - confidence) / 3
    probabilities = np.stack([confidence, rest, rest, rest], axis=1)
    return probabilities, np.where(wrong, 1, 0)


def calibrated(count: int, seed: int, low: float = 0.4) -> Arrays:
    """Answers that are right as often as they are sure: from ``low`` to 1, the surer the more."""
    rng = np.random.default_rng(seed)
    confidence = 1 - (1 - low) * rng.random(count) ** 2
    return answers(confidence, rng.random(count) > confidence)


def test_the_bound_is_clopper_and_pearsons() -> None:
    wrong = np.arange(200) < 7
    interval = binomtest(7, 200, alternative="less").proportion_ci(0.95, method="exact")

    assert upper_bound(wrong) == pytest.approx(interval.high)
    assert upper_bound(np.ones(10, bool)) == 1
    assert upper_bound(np.zeros(0, bool)) == 1


def test_dependent_slices_are_worth_fewer() -> None:
    wrong = np.arange(200) < 8

    assert upper_bound(wrong, effect=4) == pytest.approx(upper_bound(np.arange(50) < 2))
    assert upper_bound(wrong, effect=4) > upper_bound(wrong)


def test_a_good_model_accepts_whatever_it_thinks_more_likely_than_not() -> None:
    rng = np.random.default_rng(0)
    probabilities, labels = answers(rng.uniform(0.35, 1, 500), np.arange(500) % 100 == 0)

    chosen = choose_threshold(probabilities, labels)

    assert chosen.abstain_below == LOWEST
    assert "500 validation slices" in chosen.note


def test_an_answer_of_29_percent_is_never_accepted() -> None:
    probabilities, labels = answers(np.full(1000, 0.29), np.zeros(1000, bool))

    threshold = choose_threshold(probabilities, labels).abstain_below

    assert decide_all(probabilities[:1], threshold) == (Decision.ABSTAINED,)


@pytest.mark.parametrize("target", [0.02, 0.05, 0.1])
def test_accepted_answers_keep_the_risk_on_other_slices(target: float) -> None:
    probabilities, labels = calibrated(3000, seed=1, low=0.5)
    chosen = choose_threshold(probabilities, labels, target_risk=target)
    others, truth = calibrated(20_000, seed=2, low=0.5)

    accepted = others.max(axis=1) >= chosen.abstain_below
    assert accepted.mean() > 0.2
    assert (truth[accepted] != 0).mean() <= target


def test_the_promise_is_broken_no_more_often_than_it_says() -> None:
    """Over many validation splits; the true risk of each threshold is known exactly."""
    broken, made = 0, 0
    for seed in range(200):
        probabilities, labels = calibrated(400, seed, low=0.55)
        chosen = choose_threshold(probabilities, labels, target_risk=0.1)
        if chosen.abstain_below < NEVER:
            made += 1
            # Of 1 - 0.45 u**2 with uniform u, above the threshold: the mean of 0.45 u**2.
            broken += (1 - chosen.abstain_below) / 3 > 0.1
    assert made > 150
    assert broken / 200 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)


def certain_share(patients: int, slices: int, hard: float, wrong_if_hard: float) -> float:
    """In how many of 100 validation splits the target is said to be kept with certainty.

    A share ``hard`` of the patients have slices that are wrong so often; how sure an answer is
    says nothing of whether it is.
    """
    certain, groups = 0, [str(n) for n in np.repeat(np.arange(patients), slices)]
    for seed in range(100):
        rng = np.random.default_rng(seed)
        rates = np.where(rng.random(patients) < hard, wrong_if_hard, 0.0)
        wrong = rng.random(patients * slices) < np.repeat(rates, slices)
        probabilities, labels = answers(rng.uniform(0.6, 1, len(wrong)), wrong)
        certain += "with 95% certainty" in choose_threshold(probabilities, labels, groups).note
    return certain / 100


@pytest.mark.parametrize(
    ("patients", "slices"), [(5, 40), (10, 20), (10, 40), (20, 20), (29, 20), (40, 15), (100, 10)]
)
def test_few_patients_do_not_make_a_promise_that_is_broken(patients: int, slices: int) -> None:
    """The true risk is above 5 %, whichever answers are accepted."""
    assert certain_share(patients, slices, hard=0.18, wrong_if_hard=0.3) <= 0.05


def test_many_patients_show_what_a_good_model_is_worth() -> None:
    assert certain_share(50, 12, hard=0.0, wrong_if_hard=0.0) == 1
    assert certain_share(100, 10, hard=0.02, wrong_if_hard=0.3) > 0.9


def test_by_few_patients_answers_are_accepted_with_caution_and_without_certainty() -> None:
    probabilities, labels = answers(np.full(64, 0.99), np.zeros(64, bool))

    chosen = choose_threshold(probabilities, labels, ["a"] * 32 + ["b"] * 32)

    assert chosen.is_shown
    assert chosen.abstain_below == CAUTIOUS
    assert "with 95% certainty" not in chosen.note
    assert "worth no more than 2 patients" in chosen.note
    robust = choose_robustly(probabilities, probabilities, labels, ["a"] * 32 + ["b"] * 32)
    assert robust.abstain_below == CAUTIOUS
    assert "with 95% certainty" not in robust.note


def test_a_floor_above_what_was_tested_is_tested_itself() -> None:
    confidence = np.concatenate([np.full(190, 0.7), np.full(10, 0.9)])
    wrong = np.arange(200) >= 198  # two of the ten that the floor leaves
    probabilities, labels = answers(confidence, wrong)

    chosen = choose_threshold(probabilities, labels, [str(n // 20) for n in range(200)])

    assert not chosen.is_shown
    assert chosen.abstain_below == NEVER
    assert choose_threshold(probabilities, labels).is_shown  # of 200 patients


def test_slices_are_worth_as_many_patients_as_have_equally_many_of_them() -> None:
    assert worth(None, 40) == 40
    assert worth([str(n) for n in range(40)], 40) == pytest.approx(40)
    assert worth([str(n // 10) for n in range(40)], 40) == pytest.approx(4)
    assert worth(["one"] * 30 + [str(n) for n in range(10)], 40) == pytest.approx(1600 / 910)


def test_too_few_slices_promise_nothing_and_call_for_caution() -> None:
    assert fewest_slices(0.05) == 59
    probabilities, labels = answers(np.full(58, 0.99), np.zeros(58, bool))

    chosen = choose_threshold(probabilities, labels)

    assert chosen.abstain_below == CAUTIOUS
    assert "58 validation slices are too few" in chosen.note
    assert "at least 59 are needed" in chosen.note
    assert "at least 80.0% sure are accepted. 58 of these slices had such an answer" in chosen.note


def test_where_no_slice_had_an_answer_that_is_accepted_nothing_is_said_to_be_known() -> None:
    chosen = choose_threshold(*answers(np.full(20, 0.7), np.zeros(20, bool)))
    assert chosen.abstain_below == CAUTIOUS
    assert chosen.note.endswith(
        "sure are accepted. The model gave none of these slices such an answer, so it is not known "
        "how often such answers are wrong."
    )


def test_a_model_that_is_wrong_where_it_is_surest_accepts_nothing_and_says_so() -> None:
    chosen = choose_threshold(*answers(np.ones(20), np.arange(20) == 3))
    assert chosen.abstain_below == NEVER
    assert chosen.note.endswith("wrong where it was surest, so no answer is accepted.")
    assert "100" not in chosen.note


def test_a_threshold_that_can_be_reached_does_not_look_like_certainty() -> None:
    confidence = np.full(20, 0.9999)
    confidence[:2] = 0.99972
    chosen = choose_threshold(*answers(confidence, confidence < 0.9999))
    assert "at least 99.97% sure are accepted. 18 of these slices had" in chosen.note


def test_too_few_slices_accept_nothing_below_an_error_that_was_seen() -> None:
    confidence = np.linspace(0.6, 0.99, 20)
    probabilities, labels = answers(confidence, confidence == confidence[15])

    chosen = choose_threshold(probabilities, labels)

    assert confidence[15] < chosen.abstain_below < confidence[16]


def test_one_more_slice_is_enough() -> None:
    probabilities, labels = answers(np.full(59, 0.99), np.zeros(59, bool))
    assert choose_threshold(probabilities, labels).abstain_below == LOWEST


def test_a_poor_model_accepts_nothing() -> None:
    rng = np.random.default_rng(0)
    probabilities, labels = answers(rng.uniform(0.5, 1, 500), rng.random(500) < 0.4)

    chosen = choose_threshold(probabilities, labels)

    assert chosen.abstain_below == NEVER
    assert "Not even" in chosen.note


def test_errors_of_few_patients_leave_what_is_surer_than_all_of_them() -> None:
    confidence = np.linspace(0.6, 0.999, 300)
    wrong = (np.arange(300) >= 220) & (np.arange(300) < 230)
    probabilities, labels = answers(confidence, wrong)
    groups = [f"e{i // 2}" if w else f"p{i}" for i, w in enumerate(wrong)]

    chosen = choose_threshold(probabilities, labels, groups)

    assert confidence[229] < chosen.abstain_below < confidence[230]
    assert "none of these 70 was wrong" in chosen.note


@pytest.mark.parametrize(("surest", "accepted"), [(599, 0), (400, 199)])
def test_errors_of_a_single_patient_call_for_what_is_surer(surest: int, accepted: int) -> None:
    confidence = np.linspace(0.6, 0.999, 600)
    wrong = (np.arange(600) > surest - 60) & (np.arange(600) <= surest)
    probabilities, labels = answers(confidence, wrong)
    groups = ["one" if w else f"p{i // 60}" for i, w in enumerate(wrong)]

    chosen = choose_threshold(probabilities, labels, groups)

    assert int((confidence >= chosen.abstain_below).sum()) == accepted
    assert "validation slices are too few" not in chosen.note


def test_equally_sure_answers_are_accepted_together() -> None:
    probabilities, labels = answers(np.full(500, 0.9), np.arange(500) % 10 == 0)

    assert choose_threshold(probabilities, labels).abstain_below == NEVER


def test_errors_of_few_patients_count_for_less() -> None:
    wrong = np.arange(400) < 12
    alone = [str(i) for i in range(400)]
    together = [str(i // 10) for i in range(400)]

    assert design_effect(wrong, None) == 1
    assert design_effect(wrong, alone) == pytest.approx(1, rel=0.01)
    assert 5 < design_effect(wrong, together) <= 10
    assert design_effect(np.zeros(400, bool), together) == 1
    assert design_effect(wrong, ["p"] * 400) == 400


def test_with_groups_the_threshold_is_no_lower() -> None:
    rng = np.random.default_rng(3)
    confidence = np.repeat(1 - 0.5 * rng.random(60) ** 2, 10)
    wrong = np.repeat(rng.random(60) > confidence[::10], 10)
    probabilities, labels = answers(confidence, wrong)
    groups = [str(i // 10) for i in range(600)]

    plain = choose_threshold(probabilities, labels, target_risk=0.15)
    grouped = choose_threshold(probabilities, labels, groups, target_risk=0.15)
    assert grouped.abstain_below >= plain.abstain_below


def test_decisions_are_those_of_serving() -> None:
    probabilities = np.array([[0.7, 0.1, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1], [0.9, 0.1, 0, 0]])

    assert decide_all(probabilities, 0.7, np.array([False, False, True])) == (
        Decision.ACCEPTED,
        Decision.ABSTAINED,
        Decision.OUT_OF_DISTRIBUTION,
    )


def test_a_model_that_errs_on_harder_slices_must_be_surer() -> None:
    rng = np.random.default_rng(0)
    clean, labels = answers(rng.uniform(0.6, 1, 600), np.zeros(600, bool))
    confidence = rng.uniform(0.6, 1, 600)
    harder, _ = answers(confidence, np.zeros(600, bool))
    unsure = np.flatnonzero(confidence < 0.7)
    harder[unsure] = np.roll(harder[unsure], 1, axis=1)

    chosen = choose_robustly(clean, harder, labels)

    assert choose_threshold(clean, labels).abstain_below == LOWEST
    assert 0.6 < chosen.abstain_below < 0.75
    accepted = harder.max(axis=1) >= chosen.abstain_below
    assert (harder.argmax(axis=1) != labels)[accepted].mean() < 0.05
    assert "changed in brightness further" in chosen.note
    assert chosen.is_shown


def test_harder_slices_that_are_beyond_a_model_do_not_silence_it() -> None:
    rng = np.random.default_rng(0)
    clean, labels = answers(rng.uniform(0.6, 1, 600), np.zeros(600, bool))
    harder, _ = answers(rng.uniform(0.6, 1, 600), np.zeros(600, bool))
    beyond = rng.random(600) < 0.5
    harder[beyond] = np.roll(harder[beyond], 1, axis=1)

    chosen = choose_robustly(clean, harder, labels)

    assert chosen.abstain_below == LOWEST
    assert "expect more errors" in chosen.note


def test_harder_slices_add_nothing_where_the_target_is_missed_anyway() -> None:
    probabilities, labels = calibrated(58, 0)

    chosen = choose_robustly(probabilities, probabilities, labels)

    assert chosen == choose_threshold(probabilities, labels)
    assert not chosen.is_shown
