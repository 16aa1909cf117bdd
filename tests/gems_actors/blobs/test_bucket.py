"""A picture in a bucket is complete or absent, written once, and verified when it is read."""

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
from obstore.store import S3Store

from gems_actors.blobs import BlobStore, blob_folder, blob_store
from gems_actors.blobs.store import key_of
from gems_actors.config import MeshConfig, S3Config, load_config
from gems_actors.errors import BlobError, ConfigError
from protocol.identity import digest_of
from tests.gems_actors.blobs.pictures import AWS, BUCKET, DATA, open_rclone_s3, open_s3, put, ref_of

PREFIX = "of/a/lab"


@pytest.fixture(scope="module", params=["moto", "rclone"])
def endpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    opened = open_s3() if request.param == "moto" else open_rclone_s3(tmp_path_factory.mktemp("s3"))
    with opened as endpoint:
        yield endpoint


def store_at(endpoint: str, address: str = f"s3://{BUCKET}/{PREFIX}") -> BlobStore:
    return blob_store(MeshConfig(blobs=address, s3=S3Config(endpoint=endpoint)), "ipc:///nowhere")


def bucket(endpoint: str) -> S3Store:
    """Return direct access to the bucket of the store."""
    return S3Store(BUCKET, prefix=PREFIX, config={"endpoint": endpoint}, client_options={"allow_http": True})


@pytest.mark.slow
async def test_a_picture_is_stored_under_its_digest_below_the_prefix(endpoint: str) -> None:
    store = store_at(endpoint)
    ref = await put(store)
    assert ref == ref_of(DATA)
    assert await store.get(ref) == DATA
    assert store.locate(ref.digest) == f"s3://{BUCKET}/{PREFIX}/{key_of(ref.digest)}"
    assert obstore.head(bucket(endpoint), key_of(ref.digest))["size"] == len(DATA)


@pytest.mark.slow
@pytest.mark.parametrize("endpoint", ["moto"], indirect=True)  # rclone overwrites whatever If-None-Match says
async def test_putting_a_picture_twice_keeps_the_first_object(endpoint: str) -> None:
    store = store_at(endpoint)
    data = b"put once"
    key = key_of(digest_of(data))
    obstore.put(bucket(endpoint), key, data, attributes={"Content-Type": "of/the-first"})
    await put(store, data)
    assert obstore.get(bucket(endpoint), key).attributes["Content-Type"] == "of/the-first"


@pytest.mark.slow
@pytest.mark.parametrize(
    "damaged", [DATA[:-1], DATA + b"x", b"N" + DATA[1:], b""], ids=["cut", "longer", "flip", "empty"]
)
async def test_a_damaged_object_is_reported_and_replaced_by_the_next_put(endpoint: str, damaged: bytes) -> None:
    store = store_at(endpoint)
    ref = await put(store)
    obstore.put(bucket(endpoint), key_of(ref.digest), damaged)
    with pytest.raises(BlobError, match=f"^s3://{BUCKET}/{PREFIX}/sha256/.*: expected .* got "):
        await store.get(ref)
    await put(store)
    assert await store.get(ref) == DATA


@pytest.mark.slow
async def test_a_missing_object_or_bucket_is_reported_in_one_line_with_what_the_service_says(endpoint: str) -> None:
    with pytest.raises(BlobError, match=r"expected a picture of 4 bytes: NoSuchKey(: [^\n]*)?\Z"):
        await store_at(endpoint).get(ref_of(b"lost"))
    with pytest.raises(BlobError, match=r"expected to store 100000 bytes: NoSuchBucket: [^\n]*\Z"):
        await put(store_at(endpoint, "s3://another"))


class FakeHandler(BaseHTTPRequestHandler):
    """An S3 service that refuses writes as `refusals` say, and stores what is written after them."""

    refusals: ClassVar[dict[str, list[int]]] = {}
    """Status codes of the next refusals, by the header If-None-Match (empty without it)."""
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


async def test_a_request_to_a_busy_service_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_fake(monkeypatch, {"*": [503, 503]}) as store:
        await put(store)
    assert FakeHandler.codes == [503, 503, 200]


@pytest.mark.slow
async def test_a_service_without_conditional_writes_stores_pictures_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serve_fake(monkeypatch, {"*": [501] * 100}) as store:
        ref = await put(store)
        assert await store.get(ref) == DATA
        FakeHandler.codes.clear()
        await put(store)
        assert FakeHandler.codes == [], "an undamaged object is not written again"
        (path,) = FakeHandler.kept
        FakeHandler.kept[path] = b"damaged"
        await put(store)
        assert FakeHandler.codes == [200], "the service is asked only once for conditional writes"
        assert await store.get(ref) == DATA


async def test_two_concurrent_writers_of_one_picture_both_succeed(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_fake(monkeypatch, {"*": [409]}) as store:
        ref = await put(store)
        assert await store.get(ref) == DATA


def test_a_missing_package_is_reported_with_the_extra_that_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "gems_actors.blobs.bucket", raising=False)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigError, match=r"^blobs: expected the extra gems-actors\[s3\] for s3:, got "):
        blob_store(MeshConfig(blobs="s3://pictures"), "ipc:///nowhere")


@pytest.mark.parametrize("blobs", ["", "mesh", "folder", "file://relative", "s3://", "s3://Capital", "http://host"])
def test_an_invalid_store_is_refused(blobs: str) -> None:
    with pytest.raises(ConfigError, match="blobs: expected file:///FOLDER, s3://BUCKET/PREFIX or mesh:, got "):
        load_config(environment={}, settings=[f"blobs='{blobs}'"])


def test_a_bucket_has_no_folder_and_the_blob_server_has_one(tmp_path: Path) -> None:
    assert blob_folder(MeshConfig(blobs="s3://pictures")) is None
    found = blob_folder(MeshConfig(blobs="mesh:", data_dir=str(tmp_path)))
    assert found is not None
    assert found.folder == tmp_path / "blobs"
