"""What a click model's numbers leave out, counted and told; and a refusal before hours of training."""

import numpy as np

from rec_rl.data.splits import ClickDataset
from rec_rl.evaluation.ranking import gauc


def split_notes(data: ClickDataset) -> list[str]:
    """What the loader, the split and GAUC leave out, and how often.

    Raises:
        UnsupportedEstimateError: If no test user has both a click and a skip.
    """
    test = data.test
    judged = gauc(test.clicks, np.zeros(len(test)), test.users)
    notes = [f"{reason}: {count:,}" for reason, count in data.notes.items()]
    return notes if judged.verdict is None else [*notes, f"GAUC: {judged.verdict}"]
