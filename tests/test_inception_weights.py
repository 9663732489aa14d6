"""Where the Inception weights come from: a path, the cache directory, or a download, from a server of this test."""

import hashlib
import http.server
import json
import re
import socket
import threading

import jax
import numpy as np
import pytest
from references.inception import HERE, seeded
from torchwriter import saved

from gan_jax.evaluation import inception_weights
from gan_jax.evaluation.inception_net import variables
from gan_jax.types import UserError

STATE = {
    name: array
    for name, array in seeded(json.loads((HERE / "inception.json").read_text())["shapes"]).items()
    if array.dtype == np.float32
}
NAME = "pt_inception-2015-12-05-6726825d.pth"


@pytest.fixture(scope="module")
def data():
    """A file of the published one's names, shapes and format, 96 MB."""
    return saved(STATE)


@pytest.fixture
def server(monkeypatch, data):
    """Answers with `server.data`; counts the questions."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            self.send_response(self.server.status)
            self.send_header("Content-Length", str(self.server.length or len(self.server.data)))
            self.end_headers()
            self.wfile.write(self.server.data)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.data, server.status, server.length, server.asked = data, 200, 0, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(inception_weights, "URL", f"http://127.0.0.1:{server.server_port}/{NAME}")
        monkeypatch.setattr(inception_weights, "SHA256", hashlib.sha256(data).hexdigest())
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def cached(monkeypatch, tmp_path):
    """An empty cache directory, and no proxy; where in the first the file is to be."""
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")  # the servers are here
    yield (file := tmp_path / "cache" / "weights" / NAME)
    file.unlink(missing_ok=True)  # pytest keeps directories of old runs


def test_url_and_hash_are_of_one_file():
    """PyTorch's convention: a name ends with the first digits of the file's hash."""
    assert inception_weights.URL.endswith(f"-{inception_weights.SHA256[:8]}.pth") and re.fullmatch(
        "[0-9a-f]{64}", inception_weights.SHA256
    )


def test_downloaded_once(server, cached, capsys):
    first, digest = inception_weights.inception()
    assert (
        digest == inception_weights.SHA256
        and cached.stat().st_size == len(server.data)
        and server.asked == [f"/{NAME}"]
    )
    assert capsys.readouterr().err == f"downloading {inception_weights.URL} (96 MB, once) to {cached}\n"
    again, _ = inception_weights.inception()
    by_path, same = inception_weights.inception(cached)
    assert len(server.asked) == 1 and same == digest and capsys.readouterr().err == ""
    for found in (first, again, by_path):
        jax.tree.map(np.testing.assert_array_equal, found, variables(STATE))
    assert {path.name for path in cached.parent.iterdir()} <= {NAME, f"{NAME}.lock"}
    cached.write_bytes(server.data[:-4])
    with pytest.raises(UserError, match=f"{cached} is damaged: its SHA-256 is .* Delete it, to download it anew"):
        inception_weights.inception()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            {"data": b"<html>"},
            r"gave has 6 bytes and SHA-256 [0-9a-f]{64}, not [0-9a-f]{64}: cut short, or not the file",
        ),
        ({"data": b"half", "length": 8}, "gave has 4 bytes|IncompleteRead"),
        (
            {"data": b"no", "status": 404},
            "HTTP Error 404: Not Found.* get http.* and put it at .*, or name it by --features PATH",
        ),
    ],
)
def test_what_is_not_the_file_is_not_kept(server, cached, answer, message):
    vars(server).update(answer)
    with pytest.raises(UserError, match=message) as raised:
        inception_weights.inception()
    assert inception_weights.URL in str(raised.value) and str(cached) in str(raised.value)
    assert not cached.exists() and not cached.with_suffix(".part").exists()


def test_no_network(monkeypatch, cached):
    with socket.socket() as unheard:  # bound, and not listening: refuses
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}/{NAME}"
        monkeypatch.setattr(inception_weights, "URL", url)
        with pytest.raises(UserError) as raised:
            inception_weights.inception()
    assert re.fullmatch(
        rf"the Inception weights could not be downloaded \(.*refused.*\)\. Where there is a network: get {url}, "
        rf"and put it at {cached}, or name it by --features PATH",
        str(raised.value),
    )


def test_no_cache(monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", "off")
    with pytest.raises(
        UserError, match=f"GAN_JAX_CACHE is off, .*: download {inception_weights.URL} and name it by --features {NAME}"
    ):
        inception_weights.inception()


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in its place")
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"could not be downloaded \(.*(Not a directory|File exists).*--features PATH"):
        inception_weights.inception()


def test_a_path_is_of_any_hash_and_told_in_full():
    for name in ("zip", "legacy"):
        with pytest.raises(
            UserError, match=rf"{HERE / name}\.pth: not the tensors of the FID Inception, 472 of them: it lacks"
        ):
            inception_weights.inception(HERE / f"{name}.pth")
    with pytest.raises(
        UserError, match=r"absent.pth cannot be read: No such file or directory; it should be https://github.com"
    ):
        inception_weights.inception("absent.pth")
    with pytest.raises(UserError, match=r"inception.json is no file of torch.save"):
        inception_weights.inception(HERE / "inception.json")
