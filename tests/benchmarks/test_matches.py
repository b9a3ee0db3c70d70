"""Contests, as far as they go without the peers."""

import json
from pathlib import Path

import pytest

from benchmarks import gemm
from benchmarks.contest import Contest, Opponent, Side
from benchmarks.matches import SideFailedError, hold, rows_of
from benchmarks.results import Store, page, record_of
from benchmarks.rows import Row, number, seconds

SMALL, LARGE = [(8, 8, 8)], [(256, 256, 256)]


def contest(ours: Side, *opponents: Opponent, least: float | None = None) -> Contest:
    return Contest(
        name="c",
        work="products",
        unit="product",
        ours=ours,
        opponents=opponents,
        least_per_second=least,
    )


def products(name: str, shapes: list[tuple[int, int, int]], *, in_peers: bool = False) -> Side:
    settings = {"products": shapes, "units": 1}
    return Side(name=name, setup=gemm.multiply, settings=settings, in_peers=in_peers)


def window(cpu: float, units: float) -> dict[str, float]:
    return {"cpu": cpu, "wall": 2 * cpu, "units": units}


def test_ratio_is_pair_by_pair_their_cost_over_ours():
    found = contest(products("ours", SMALL), Opponent(side=products("theirs", SMALL), bar=2.5), least=3.0)
    windows = {
        "ours": [window(1.0, 2), window(2.0, 8), window(3.0, 6)],  # .5, .25 and .5 seconds a unit
        "theirs": [window(1.0, 1), window(1.0, 1), window(3.0, 2)],  # 1, 1 and 1.5
    }
    ratio, alone = rows_of(found, windows, {})
    assert ratio.values == (2.0, 4.0, 3.0)
    assert ratio.wall_values == (2.0, 4.0, 3.0)
    assert (ratio.ours, ratio.theirs) == (0.5, 1.0)
    assert not ratio.missed  # the median is 3
    assert alone.values == (2.0, 4.0, 2.0)
    assert alone.missed
    assert alone.verdict == ">= 3: missed by 33%"


def test_sides_work_in_processes_of_their_own_and_a_missing_peer_is_skipped(tmp_path: Path):
    told: list[str] = []
    found = contest(
        products("ours", SMALL),
        Opponent(side=products("theirs", LARGE)),
        Opponent(side=products("peer", LARGE, in_peers=True), bar=1.0),
    )
    theirs, peer = hold(found, peers=None, pairs=2, logs=tmp_path, progress=told.append, seconds=0.01)
    assert len(theirs.values) == 2
    assert theirs.value > 10  # 33 million multiplications against 512
    assert peer.values == ()
    assert not peer.missed
    assert peer.verdict == "not measured: needs --peers"
    assert told[-1] == "c: round 2 of 2"


def test_a_side_that_fails_is_told_with_its_last_line(tmp_path: Path):
    broken = Side(name="ours", setup=gemm.multiply, settings={"products": [(1, 2)], "units": 1})
    with pytest.raises(SideFailedError, match="ours failed: ValueError: not enough values to unpack"):
        hold(contest(broken), peers=None, pairs=1, logs=tmp_path, progress=print, seconds=0.01)


def test_at_most_is_missed_from_above():
    row = Row(name="m", work="w", against="a", unit="u", values=(0.3, 0.2, 0.35), bar=0.25, at_most=True)
    assert row.value == 0.3
    assert row.verdict == "<= 0.25: missed by 20%"


def test_finished_rows_are_found_for_the_same_pairs_only(tmp_path: Path):
    rows = [Row(name="a/b", work="w", against="b", unit="u", values=(1.0, 2.0), bar=3.0)]
    Store(tmp_path, pairs=2).keep("a", rows)
    assert Store(tmp_path, pairs=2).find("a") == rows
    assert Store(tmp_path, pairs=3).find("a") is None
    assert Store(tmp_path, pairs=2).find("b") is None


def test_page_and_record_say_what_misses_and_why():
    rows = [
        Row(name="a/b", work="steps", against="b", unit="step", values=(1.0, 1.5), bar=3.0, why="Because."),
        Row(name="a/c", work="steps", against="c", unit="step", skipped="needs --peers"),
    ]
    record = record_of(rows, command="python -m benchmarks", pairs=2, wall_seconds=1.0)
    assert record.metrics["a/b"].value == 1.25
    assert (record.metrics["a/b"].low, record.metrics["a/b"].high) == (1.0, 1.5)
    assert record.missed == [{"bar": "a/b >= 3: missed by 58%", "value": 1.25, "reason": "Because."}]
    text = page(rows, json.loads(json.dumps(record.to_dict())))
    assert "**steps**, b: Because." in text
    assert "| steps | b |  |  | 1.25 (1, 1.5) |  | >= 3: missed by 58% |" in text
    assert "not measured: needs --peers" in text


def test_numbers_and_durations_have_three_digits():
    assert [number(x) for x in (12345.6, 12.345, 0.012345)] == ["12,346", "12.3", "0.0123"]
    assert [seconds(x) for x in (None, 1.5, 0.0026, 2.7e-6)] == ["", "1.5 s", "2.6 ms", "2.7 µs"]


def test_products_of_a_training_step_by_hand():
    assert gemm.forward(5, [3, 4, 2]) == [(5, 3, 4), (5, 4, 2)]
    # weights of both layers, and the inputs of the second; those of the first only where asked for
    assert gemm.backward(5, [3, 4, 2]) == [(3, 5, 4), (4, 5, 2), (5, 2, 4)]
    assert (5, 4, 3) in gemm.backward(5, [3, 4, 2], inputs=True)
    assert gemm.backward(5, [3, 4, 2], weights=False, inputs=True) == [(5, 4, 3), (5, 2, 4)]
