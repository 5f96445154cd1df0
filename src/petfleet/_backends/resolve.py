"""The backend for what a caller names as the root: the path of a directory, or a backend itself."""

from __future__ import annotations

import os

from petfleet._backends.files.backend import FileBackend
from petfleet._backends.protocol import Backend
from petfleet._model.names import text


def resolve_backend(root: str | os.PathLike[str] | Backend) -> Backend:
    """Return the backend for a root.

    Raises:
        TypeError: the root is neither a path nor a backend.
        ValueError: it is empty or a URL.
    """
    if isinstance(root, Backend):
        return root
    path = text(os.fspath(root), "root")
    if not path or "://" in path:
        raise ValueError(f"root must be the path of a directory or an ObjectBackend(url), not {path!r}")
    return FileBackend(os.path.abspath(path))
