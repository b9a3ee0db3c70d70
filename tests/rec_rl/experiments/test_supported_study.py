from dataclasses import asdict

import pytest

from rec_rl.experiments import supported_study
from rec_rl.experiments.supported_study import ARMS, LOGGER, OURS, StudySize, world_trial


def test_trial_judges_an_arm_at_its_own_radius_and_at_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(supported_study, "ARMS", {OURS: ARMS[OURS]})
    monkeypatch.setattr(supported_study, "CONTROLS", {})
    monkeypatch.setattr(supported_study, "RADII", (0.5, 2.0))
    size = StudySize(num_users=60, num_requests=205, num_pairs=300)
    *steps, last = world_trial({"seed": 0, "size": asdict(size)})
    assert steps == [{"step": 1, "total": 1}]
    arms = last["result"]["arms"]
    assert set(arms) == {LOGGER, OURS}
    assert set(arms[LOGGER]) == {"depth", "frequency", "mixture"}
    ours = arms[OURS]
    assert ours["effective_share"] > 0.2
    assert ours["mixture"] > arms[LOGGER]["mixture"]
    assert ours["mixture_at_0.5"] != ours["mixture_at_2"]
    if f"mixture_at_{ours['radius']:g}" in ours:
        assert ours[f"mixture_at_{ours['radius']:g}"] == ours["mixture"]
