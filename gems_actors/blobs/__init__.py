"""Pictures by what they are: each is kept once, under the SHA-256 of its bytes, and verified whenever it is read.

Where they rest is the setting `blobs`: a folder, a bucket, or the host of the router. What this package must not know
is what a picture is of, or whether it is one.
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
    """Return the store that all roles of a mesh share, for a process of that mesh.

    Args:
        config: of the mesh.
        router: its address; with `mesh:` the pictures are served beside it, where there are several beside the first.

    Raises:
        ConfigError: the store cannot be used with these settings, or wants a package that is not installed.
    """
    if config.blobs == MESH_BLOBS:
        from gems_actors.blobs.mesh import MeshBlobs

        cache, cache_bytes = config.data_path / "blob-cache", config.blob_cache_mib * 2**20
        return MeshBlobs(split_addresses(router)[0], cache, cache_bytes, config.security)
    return backing_store(config)


def backing_store(config: MeshConfig) -> BlobStore:
    """Return where the pictures of a mesh rest, for whoever looks at them on its host whether or not it runs.

    Raises:
        ConfigError: as `blob_store`.
    """
    folder = blob_folder(config)
    if folder is not None:
        return folder
    from gems_actors.blobs.bucket import BlobBucket  # the package that it needs is an extra

    return BlobBucket(config.blobs or "", config.s3)


def blob_folder(config: MeshConfig) -> BlobFolder | None:
    """Return the folder in which the pictures of a mesh rest; None where they rest in a bucket."""
    if config.blobs is None or config.blobs == MESH_BLOBS:
        return BlobFolder(config.data_path / "blobs")
    address = urlsplit(config.blobs)
    return BlobFolder(Path(unquote(address.path))) if address.scheme == "file" else None
