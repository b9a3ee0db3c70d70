import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[3]

SCRIPT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "ray", "gymnasium", "pandas", "scipy", "onnx", "onnxscript"):
            raise ImportError(f"{name} is not in a bare environment")

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, sys.argv[1])
from rec_rl.runtime import Recommender

found = Recommender(sys.argv[2]).recommend({"state": [1.0, 0.5, 7.0]}, 2, exclude=["p"])
own = sorted(name for name in sys.modules if name.startswith("rec_rl"))
print([item for item, _ in found], [name for name in own if not name.startswith("rec_rl.runtime")])
"""


def test_the_runtime_needs_numpy_and_onnxruntime_alone(policy_artefact: Callable[..., Path]):
    folder = policy_artefact(["p", "q", "r"], [[0, 0], [2, 0], [0, 4]])
    command = [sys.executable, "-I", "-c", SCRIPT, str(ROOT), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['q', 'r'] ['rec_rl', 'rec_rl.errors']"
