"""What a recording says of itself, the bytes of its recording.json, which end with their
checksum."""

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from probe.recording.plain_data import Unfit

__all__ = ["sealed", "unsealed"]

_SEAL = re.compile(rb', "sha256": "([0-9a-f]{64})"\}\Z')
_LENGTH = len(', "sha256": ""}') + 64


def sealed(index: Mapping[str, Any]) -> bytes:
    """The index as JSON, whose last key is the checksum of what it is without that key."""
    text = json.dumps(index, allow_nan=False).encode()
    return text[:-1] + f', "sha256": "{sha256(text).hexdigest()}"}}'.encode()


def unsealed(content: bytes) -> Any:
    """What ``sealed`` was given. Recordings of earlier versions have no checksum.

    Raises Unfit where the checksum is another, and ValueError or RecursionError where the content
    is not JSON.
    """
    seal = _SEAL.search(content, max(0, len(content) - _LENGTH))
    text = content if seal is None else content[: seal.start()] + b"}"
    if seal is not None and sha256(text).hexdigest().encode() != seal[1]:
        raise Unfit("an index that is damaged: its checksum is another")
    index = json.loads(text)
    if isinstance(index, dict) and "sha256" in index:
        raise Unfit("an index whose checksum is not at its end")
    return index
