import threading
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rec_rl.data import virtual_taobao_files
from rec_rl.data.virtual_taobao_files import SHA256, download, read_verified
from rec_rl.errors import DatasetError

CONTENTS = {name: f"weights of {name}".encode() * 9000 for name in SHA256}
CUT_AFTER = 1000


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class CuttingHandler(BaseHTTPRequestHandler):
    """Promises a whole file and hangs up after its first bytes."""

    def do_GET(self) -> None:
        content = CONTENTS[Path(self.path).name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:CUT_AFTER])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three small files that pass for the published ones."""
    source = tmp_path / "source"
    source.mkdir()
    for name, content in CONTENTS.items():
        (source / name).write_bytes(content)
        monkeypatch.setitem(virtual_taobao_files.SHA256, name, sha256(content).hexdigest())
    return source


@pytest.fixture
def serve() -> Iterator[object]:
    servers = []

    def start(handler: object) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)  # type: ignore[arg-type]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _everything_beside(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_download_from_a_url_puts_all_three_files_in_place(folder, serve, tmp_path):
    url = serve(partial(QuietHandler, directory=str(folder)))
    progress = []
    target = tmp_path / "data" / "virtual_taobao"
    assert download(url, target, on_progress=lambda *event: progress.append(event)) == target
    assert {path.name: path.read_bytes() for path in target.iterdir()} == CONTENTS
    assert _everything_beside(target) == ["virtual_taobao"]
    ends = [event for event in progress if event[1] == event[2]]
    assert ends == [(name, len(content), len(content)) for name, content in CONTENTS.items()]


def test_download_from_a_folder_copies(folder, tmp_path):
    target = download(folder, tmp_path / "target")
    assert {path.name: path.read_bytes() for path in target.iterdir()} == CONTENTS


def test_download_replaces_a_broken_file_of_an_existing_folder(folder, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "leave_model.pt").write_bytes(b"broken")
    (target / "notes.txt").write_text("mine")
    download(folder, target)
    assert read_verified(target, "leave_model.pt") == CONTENTS["leave_model.pt"]
    assert (target / "notes.txt").read_text() == "mine"


def test_download_refuses_another_content_and_leaves_nothing(folder, tmp_path):
    (folder / "action_model.pt").write_bytes(b"other weights")
    target = tmp_path / "target"
    with pytest.raises(DatasetError, match=r"action_model.pt: expected SHA-256 \w{64}, got \w{64}$"):
        download(folder, target)
    assert _everything_beside(target) == ["source"]


def test_download_leaves_an_existing_folder_alone_on_a_mismatch(folder, tmp_path):
    target = download(folder, tmp_path / "target")
    (folder / "action_model.pt").write_bytes(b"other weights")
    with pytest.raises(DatasetError, match="expected SHA-256"):
        download(folder, target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == CONTENTS


@pytest.mark.usefixtures("folder")
def test_download_tells_of_a_cut_connection_and_leaves_nothing(serve, tmp_path):
    size = len(CONTENTS["generator_model.pt"])
    with pytest.raises(DatasetError, match=f"generator_model.pt: .* closed after 1000 of {size} bytes"):
        download(serve(CuttingHandler), tmp_path / "target")
    assert _everything_beside(tmp_path / "target") == ["source"]


def test_download_tells_of_a_missing_page(folder, serve, tmp_path):
    (folder / "leave_model.pt").unlink()
    url = serve(partial(QuietHandler, directory=str(folder)))
    with pytest.raises(DatasetError, match=r"leave_model.pt: cannot be fetched \(HTTP Error 404"):
        download(url, tmp_path / "target")
    assert _everything_beside(tmp_path / "target") == ["source"]


def test_download_tells_of_a_missing_folder(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere/generator_model.pt: cannot be copied \(No such file"):
        download(tmp_path / "nowhere", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_download_tells_of_nobody_listening(tmp_path):
    url = "http://127.0.0.1:9"  # the discard port
    with pytest.raises(DatasetError, match=r"generator_model.pt: cannot be fetched"):
        download(url, tmp_path / "target")


def test_read_verified_refuses_what_is_missing_or_other(folder):
    assert read_verified(folder, "leave_model.pt") == CONTENTS["leave_model.pt"]
    (folder / "leave_model.pt").write_bytes(b"broken")
    with pytest.raises(DatasetError, match=r"leave_model.pt: expected SHA-256 \w{64}, got \w{64}$"):
        read_verified(folder, "leave_model.pt")
    (folder / "leave_model.pt").unlink()
    with pytest.raises(DatasetError, match=r"leave_model.pt: cannot be read \(No such file or directory\)"):
        read_verified(folder, "leave_model.pt")
