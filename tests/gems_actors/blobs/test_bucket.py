"""A picture in a bucket is whole or not there, written once, and verified when it is read."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import obstore
import pytest
import trio
from obstore.store import S3Store

from gems_actors.blobs import BlobStore, blob_folder, blob_store
from gems_actors.blobs.store import key_of
from gems_actors.config import MeshConfig, S3Config, load_config
from gems_actors.errors import BlobError, ConfigError
from protocol.identity import digest_of
from tests.gems_actors.blobs.pictures import AWS, BUCKET, DATA, open_s3, put, ref_of

PREFIX = "of/a/lab"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with open_s3() as endpoint:
        yield endpoint


def store_at(endpoint: str, address: str = f"s3://{BUCKET}/{PREFIX}") -> BlobStore:
    return blob_store(MeshConfig(blobs=address, s3=S3Config(endpoint=endpoint)), "ipc:///nowhere")


def bucket(endpoint: str) -> S3Store:
    """Return what looks at the bucket beside the store."""
    return S3Store(BUCKET, prefix=PREFIX, config={"endpoint": endpoint}, client_options={"allow_http": True})


def test_what_is_put_is_had_back_and_rests_under_its_digest_below_the_prefix(endpoint: str) -> None:
    store = store_at(endpoint)
    ref = trio.run(put, store)
    assert ref == ref_of(DATA)
    assert trio.run(store.get, ref) == DATA
    assert store.place_of(ref.digest) == f"s3://{BUCKET}/{PREFIX}/{key_of(ref.digest)}"
    assert obstore.head(bucket(endpoint), key_of(ref.digest))["size"] == len(DATA)


def test_putting_a_picture_twice_keeps_the_first_object(endpoint: str) -> None:
    store = store_at(endpoint)
    data = b"put once"
    key = key_of(digest_of(data))
    obstore.put(bucket(endpoint), key, data, attributes={"Content-Type": "of/the-first"})
    trio.run(put, store, data)
    assert obstore.get(bucket(endpoint), key).attributes["Content-Type"] == "of/the-first"


@pytest.mark.parametrize(
    "damaged", [DATA[:-1], DATA + b"x", b"N" + DATA[1:], b""], ids=["cut", "longer", "flip", "empty"]
)
def test_a_damaged_object_is_named_never_handed_out_and_put_again_mends_it(endpoint: str, damaged: bytes) -> None:
    store = store_at(endpoint)
    ref = trio.run(put, store)
    obstore.put(bucket(endpoint), key_of(ref.digest), damaged)
    with pytest.raises(BlobError, match=f"^s3://{BUCKET}/{PREFIX}/sha256/.*: expected .* got "):
        trio.run(store.get, ref)
    trio.run(put, store)
    assert trio.run(store.get, ref) == DATA


def test_what_is_not_there_is_said_in_the_service_s_words_and_one_line(endpoint: str) -> None:
    with pytest.raises(BlobError, match=r"expected a picture of 4 bytes: NoSuchKey: [^\n]*\Z"):
        trio.run(store_at(endpoint).get, ref_of(b"lost"))
    with pytest.raises(BlobError, match=r"expected to store 100000 bytes: NoSuchBucket: [^\n]*\Z"):
        trio.run(put, store_at(endpoint, "s3://another"))


class FakeHandler(BaseHTTPRequestHandler):
    """A service that answers to each attempt to write as its `refusals` say, and keeps what is written after them."""

    refusals: ClassVar[dict[str, list[int]]] = {}
    """By the header If-None-Match, or an empty text without it."""
    codes: ClassVar[list[int]] = []
    kept: ClassVar[dict[str, bytes]] = {}

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        left = self.refusals.get(self.headers.get("If-None-Match", ""), [])
        self.codes.append(left.pop(0) if left else 200)
        if self.codes[-1] == 200:
            self.kept[self.path] = data
        names = {501: "NotImplemented", 409: "ConditionalRequestConflict"}
        self._answer(self.codes[-1], f"<Code>{names.get(self.codes[-1])}</Code><Message>no</Message>".encode())

    def do_GET(self) -> None:
        found = self.kept.get(self.path)
        self._answer(404 if found is None else 200, found or b"<Code>NoSuchKey</Code><Message>no</Message>")

    def _answer(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("ETag", '"whole"')
        self.send_header("Last-Modified", "Wed, 25 Nov 2026 20:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serve_fake(monkeypatch: pytest.MonkeyPatch, refusals: dict[str, list[int]]) -> Iterator[BlobStore]:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(FakeHandler, "refusals", refusals)
    monkeypatch.setattr(FakeHandler, "codes", [])
    monkeypatch.setattr(FakeHandler, "kept", {})
    with ThreadingHTTPServer(("127.0.0.1", 0), FakeHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield store_at(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


def test_a_service_that_is_busy_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_fake(monkeypatch, {"*": [503, 503]}) as store:
        trio.run(put, store)
    assert FakeHandler.codes == [503, 503, 200]


@pytest.mark.slow
def test_a_service_that_cannot_write_only_where_nothing_is_keeps_pictures_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serve_fake(monkeypatch, {"*": [501] * 100}) as store:
        ref = trio.run(put, store)
        assert trio.run(store.get, ref) == DATA
        FakeHandler.codes.clear()
        trio.run(put, store)
        assert FakeHandler.codes == [], "what is there and whole is not written again"
        (path,) = FakeHandler.kept
        FakeHandler.kept[path] = b"damaged"
        trio.run(put, store)
        assert FakeHandler.codes == [200], "it is asked once whether it can"
        assert trio.run(store.get, ref) == DATA


def test_two_who_write_one_picture_at_the_same_moment_both_have_it_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_fake(monkeypatch, {"*": [409]}) as store:
        ref = trio.run(put, store)
        assert trio.run(store.get, ref) == DATA


def test_a_bucket_without_the_package_that_speaks_with_it_says_which_extra_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "gems_actors.blobs.bucket", raising=False)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigError, match=r"^blobs: expected the extra gems-actors\[s3\] for s3:, got "):
        blob_store(MeshConfig(blobs="s3://pictures"), "ipc:///nowhere")


@pytest.mark.parametrize("blobs", ["", "mesh", "folder", "file://relative", "s3://", "s3://Capital", "http://host"])
def test_what_is_no_store_is_refused(blobs: str) -> None:
    with pytest.raises(ConfigError, match="blobs: expected file:///FOLDER, s3://BUCKET/PREFIX or mesh:, got "):
        load_config(environment={}, settings=[f"blobs='{blobs}'"])


def test_a_bucket_is_no_folder_and_what_the_mesh_serves_is_one_of_its_host(tmp_path: Path) -> None:
    assert blob_folder(MeshConfig(blobs="s3://pictures")) is None
    found = blob_folder(MeshConfig(blobs="mesh:", data_dir=str(tmp_path)))
    assert found is not None
    assert found.folder == tmp_path / "blobs"
