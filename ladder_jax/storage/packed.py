"""Trees of arrays as bytes that say if they are damaged."""

from __future__ import annotations

import hashlib
from typing import Any

from flax import serialization


def pack(name: str, tree: Any, version: int) -> bytes:
    """Packs plain containers and arrays as MessagePack, with a format number and a SHA-256."""
    content = serialization.msgpack_serialize(tree)
    digest = hashlib.sha256(content).digest()
    return serialization.msgpack_serialize({"format": version, "sha256": digest, name: content})


def unpack(name: str, packed: bytes, version: int) -> Any:
    """Returns the tree that ``pack`` was given, without running any code that it holds."""
    # Damaged bytes lead to exceptions of many kinds, so callers catch all of them.
    found = serialization.msgpack_restore(packed)
    if isinstance(found["format"], int) and found["format"] > version:
        raise NewerFormatError(
            f"has format {found['format']}, this version of ladder_jax reads up to {version}; "
            "install a newer one"
        )
    if found["format"] != version or hashlib.sha256(found[name]).digest() != found["sha256"]:
        raise ValueError("its content has changed")
    return serialization.msgpack_restore(found[name])


class NewerFormatError(ValueError):
    """A file was written by a later version of this package."""
