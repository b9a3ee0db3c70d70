from pathlib import Path

import pytest

from rec_rl.evaluation.intervals import mean_interval
from rec_rl.experiments.records import RunRecord
from rec_rl.report.figures import figures_by_family, training_curves
from rec_rl.report.page import rewrite_report, write_report

CURVES = {
    "sac": [[{"step": 100.0, "ectr": 0.1}, {"step": 200.0, "ectr": 0.5}] for _ in range(3)],
    "sac/qr_iql/raw": [[{"step": 100.0, "ectr": 0.2}, {"step": 210.0, "ectr": 0.6}]],
    "ppo": [[]],
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    RunRecord(
        command="rec-rl demo <script>",
        seeds=[0],
        data_hash="abc",
        config={"note": "</pre><script>alert(1)</script>"},
        arms={"a & b": {"ectr": mean_interval([0.25, 0.75])}},
        missed=[{"bar": "eCTR >= 2", "value": 1.0, "reason": "it is a rate"}],
    ).save(tmp_path / "record.json")
    return tmp_path


def test_the_page_is_whole_and_fetches_nothing(run: Path):
    page = write_report(run, title="T", curves=CURVES, verdict="It does not help.").read_text()
    assert page.count("data:image/png;base64,") == 1  # one figure per family of arms that has a curve
    assert "http://" not in page
    assert "https://" not in page
    assert "It does not help." in page
    assert "0.5 [" in page
    assert "Missed: eCTR &gt;= 2" in page


def test_the_page_escapes_what_a_record_says(run: Path):
    page = write_report(run, title="T", curves={}).read_text()
    assert "<script>" not in page
    assert "a &amp; b" in page


def test_a_page_can_be_written_anew(run: Path):
    write_report(run, title="T", curves=CURVES)
    (run / "report.html").unlink()
    assert rewrite_report(run).read_text().count("data:image/png") == 1


def test_curves_show_every_seed_and_an_interval_from_three_on():
    axes = training_curves({k: v for k, v in CURVES.items() if all(v)}, "ectr", "eCTR").axes[0]
    assert len(axes.lines) == (1 + 3) + (1 + 1)
    assert len(axes.collections) == 1


def test_a_figure_holds_the_arms_of_one_mode_with_the_plain_arm():
    curve = [[{"step": 100.0, "ectr": 0.1}]]
    arms = ("sac+a", "sac+a/iq_learn/raw", "sac+a/shuffled/raw", "sac+a/iq_learn/unit", "ppo", "ppo/x")
    figures = figures_by_family(dict.fromkeys(arms, curve) | {"random": [[]]})
    drawn = {
        name: [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        for name, figure in figures.items()
    }
    assert drawn == {
        "sac-a-raw-ectr-while-training": ["sac+a", "sac+a/iq_learn/raw", "sac+a/shuffled/raw"],
        "sac-a-unit-ectr-while-training": ["sac+a", "sac+a/iq_learn/unit"],
        "ppo-ectr-while-training": ["ppo", "ppo/x"],
    }
