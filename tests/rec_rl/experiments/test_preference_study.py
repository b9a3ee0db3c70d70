from dataclasses import asdict

import pytest

from rec_rl.experiments.preference_study import LINEAR, NETWORK, SHUFFLED, StudySize, _missed, study_trial
from rec_rl.report.preference_figures import fit_figure

SIZE = StudySize(num_users=120, num_pairs=600, hidden_sizes=(16,))


@pytest.mark.parametrize("teacher", ["request", "session"])
def test_trial_fits_both_forms_and_a_control_and_judges_them_on_unseen_users(teacher: str):
    *steps, last = study_trial({"teacher": teacher, "seed": 0, "size": asdict(SIZE)})
    assert steps[-1] == {"step": 30, "total": 30}  # 10 batches of 64 in 3 epochs
    result = last["result"]
    assert set(result["arms"]) == {NETWORK, LINEAR, SHUFFLED}
    assert result["arms"][LINEAR]["harmful"] == float(teacher == "session")
    assert result["arms"][LINEAR]["pair_accuracy"] > 0.6
    assert abs(result["arms"][SHUFFLED]["pair_accuracy"] - 0.5) < 0.1
    assert {len(curve) for curve in result["curves"].values()} == {30}
    (line, *_) = fit_figure({teacher: [result["curves"]]}).axes[0].lines
    assert len(line.get_xdata()) == 21  # means of ten


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("teacher", ["request", "session"])
def test_full_size_reaches_the_bars(teacher: str):
    from rec_rl.experiments.preference_study import _metrics

    *_, last = study_trial({"teacher": teacher, "seed": 7, "size": asdict(StudySize())})
    arms = {f"{teacher}, {form}": _metrics([last["result"]["arms"][form]]) for form in (NETWORK, LINEAR)}
    anything = {"pair_accuracy": 0.72, "within_user_correlation": 0.5, "harmful": 1.0}
    others = {
        f"{t}, {f}": _metrics([anything]) for t in ("request", "session", "mean") for f in (NETWORK, LINEAR)
    }
    assert _missed(others | arms, quick=False) == []
