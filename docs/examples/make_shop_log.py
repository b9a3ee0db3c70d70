"""Makes shop.csv beside this file: three weeks of a small shop that shows one item at a time.

Nobody's data: users have a taste and a patience, items a place in taste space and a loudness. A loud item is
clicked more and tires; a session goes on while items please, and who was pleased comes back sooner. The shop
serves what is near its rough idea of the taste, with a lot of chance. Some rows are broken on purpose, as
they are in any log.

    python docs/examples/make_shop_log.py
"""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

USERS, ITEMS, DAYS, TASTES = 400, 90, 21, 4
START = datetime(2025, 3, 3, 6, 0, tzinfo=UTC)
KINDS = {
    "kitchen": ["Teapot", "Skillet", "Salad bowl", "Bread knife", "Jug"],
    "garden": ["Trowel", "Hammock", "Bird feeder", "Watering can", "Lantern"],
    "books": ["Atlas", "Cookbook", "Sketchbook", "Field guide", "Diary"],
    "games": ["Chess set", "Kite", "Puzzle", "Yo-yo", "Dominoes"],
    "textiles": ["Blanket", "Apron", "Cushion", "Tea towel", "Rug"],
}
FINISH = ["red", "oak", "blue", "linen", "brass", "green", "plain", "striped"]
HEADER = ["customer", "shown_at", "sku", "name", "department", "clicked", "stars"]


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x))."""
    return float(1 / (1 + np.exp(-x)))


def main() -> None:
    """Writes the log."""
    rng = np.random.default_rng(7)
    kinds = list(KINDS)
    centres = 0.9 * rng.standard_normal((len(kinds), TASTES))
    kind_of = rng.integers(0, len(kinds), ITEMS)
    places = centres[kind_of] + 0.45 * rng.standard_normal((ITEMS, TASTES))
    loud = rng.random(ITEMS)
    names = [f"{rng.choice(KINDS[kinds[kind]])}, {rng.choice(FINISH)}" for kind in kind_of]
    rows: list[list[str | int]] = []
    for user in range(USERS):
        taste = centres[rng.integers(len(kinds))] + 0.5 * rng.standard_normal(TASTES)
        idea = taste + 0.5 * rng.standard_normal(TASTES)
        patience, mood = 0.9 + 0.5 * rng.standard_normal(), 0.0
        pull = -0.5 * ((places - idea) ** 2).sum(axis=1)
        served = np.exp(0.5 * pull) / np.exp(0.5 * pull).sum()
        now = START + timedelta(hours=float(72 * rng.random()))
        while now < START + timedelta(days=DAYS):
            while True:
                item = int(rng.choice(ITEMS, p=served))
                match = float(np.exp(-0.4 * ((places[item] - taste) ** 2).sum()))
                clicked = rng.random() < sigmoid(4 * match + 1.2 * loud[item] - 2.4)
                mood += 0.15 * (match - 0.5 * loud[item] - mood)
                stars = str(int(np.clip(np.round(1 + 4 * match + rng.normal(0, 0.5)), 1, 5)))
                rated = clicked and rng.random() < 0.1
                row = [f"c{user:04d}", now.strftime("%Y-%m-%dT%H:%M:%SZ"), f"sku-{item:03d}", names[item]]
                rows.append([*row, kinds[kind_of[item]], int(clicked), stars if rated else ""])
                now += timedelta(seconds=float(rng.integers(8, 240)))
                if rng.random() > sigmoid(patience + 2 * (match - 0.3) + mood):
                    break
            now += timedelta(hours=float(np.exp(3.8 - 2 * mood + 0.5 * rng.standard_normal())))
    order = sorted(range(len(rows)), key=lambda i: str(rows[i][1]))  # as a shop would write them
    rows = [rows[i] for i in order]
    for i in range(40, len(rows), 997):
        rows[i][int(rng.choice([0, 1, 2, 5]))] = ""
    rows[1234][1], rows[2345][5] = "yesterday", "maybe"
    rows[3456:3456] = [list(rows[3455])]
    with (Path(__file__).parent / "shop.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])


if __name__ == "__main__":
    main()
