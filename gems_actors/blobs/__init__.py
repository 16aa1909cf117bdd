"""Content-addressed storage of pictures: each is stored once, under the SHA-256 of its bytes, and verified when read.

The setting `blobs` says where: in a folder, in a bucket, or on the router's host. This package must not know what a
picture shows, or whether the bytes are a picture at all.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from gems_actors.addresses import split_addresses
from gems_actors.blobs.folder import BlobFolder
from gems_actors.blobs.store import BlobStore
from gems_actors.config import MESH_BLOBS, MeshConfig

__all__ = ["BlobFolder", "BlobStore", "backing_store", "blob_folder", "blob_store"]


def blob_store(config: MeshConfig, router: str) -> BlobStore:
    """Return the store that all roles of a mesh share; with `mesh:` the host of the first router serves the pictures.

    Raises:
        ConfigError: the store cannot be used with these settings, or needs a package that is not installed.
    """
    if config.blobs == MESH_BLOBS:
        from gems_actors.blobs.mesh import MeshBlobs

        cache, cache_bytes = config.data_path / "blob-cache", config.blob_cache_mib * 2**20
        return MeshBlobs(split_addresses(router)[0], cache, cache_bytes, config.security)
    return backing_store(config)


def backing_store(config: MeshConfig) -> BlobStore:
    """Return the store behind `mesh:` or the configured one, for use on the mesh's host even if no mesh is running.

    Raises:
        ConfigError: as `blob_store`.
    """
    folder = blob_folder(config)
    if folder is not None:
        return folder
    from gems_actors.blobs.bucket import BlobBucket  # needs the package of an extra

    return BlobBucket(config.blobs or "", config.s3)


def blob_folder(config: MeshConfig) -> BlobFolder | None:
    """Return the folder in which a mesh stores its pictures; None if it stores them in a bucket."""
    if config.blobs is None or config.blobs == MESH_BLOBS:
        return BlobFolder(config.data_path / "blobs")
    address = urlsplit(config.blobs)
    return BlobFolder(Path(unquote(address.path))) if address.scheme == "file" else None
