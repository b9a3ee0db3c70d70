import os
from collections.abc import Callable, Iterator
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before numpy and torch: the suite shares two cores
os.environ.setdefault("RAY_worker_niceness", "0")

import pytest  # noqa: E402

ROOT = Path(__file__).parents[1]


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that use Ray go to one worker, so that the suite starts Ray once however many workers run it."""
    for item in items:
        if "ray_session" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("ray"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Passes over a test that needs a GPU where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("this machine has no GPU")


@pytest.fixture(scope="session")
def ray_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The suite's one Ray: two cores, its own ports and folder, ended with the session."""
    import ray

    folder = tmp_path_factory.mktemp("r")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=200 * 2**20,
        _temp_dir=str(folder) if len(str(folder)) < 40 else None,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data is not at {folder}")
    return folder


@pytest.fixture
def ending_at() -> Callable[[int, list[int]], Callable[..., None]]:
    """An ``on_step`` that keeps the steps in a list and, before it keeps a certain one, is interrupted."""

    def make(last: int, steps: list[int]) -> Callable[..., None]:
        def on_step(step: int, *_: object) -> None:
            if step == last:
                raise KeyboardInterrupt
            steps.append(step)

        return on_step

    return make
