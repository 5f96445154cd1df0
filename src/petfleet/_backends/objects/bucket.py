"""Objects under one prefix of a bucket: the blocking calls of obstore, and the meaning of its errors."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from obstore.store import S3Store

_NOTE: Final = "petfleet"  # the key of our metadata
_DEFAULT_TIMEOUT: Final = timedelta(seconds=10)
# Long enough for a gateway that restarts, but not the three minutes that are obstore's default.
_READ_RETRIES: Final = {
    "max_retries": 10,
    "backoff": {"init_backoff": timedelta(milliseconds=50), "max_backoff": timedelta(seconds=1), "base": 2},
    "retry_timeout": timedelta(seconds=5),
}
# obstore reads client options from the environment only if it is given none, and so never beside ours.
_ENVIRONMENTS: Final = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}
_CLIENT_OPTIONS: Final = (
    *("allow_http", "allow_invalid_certificates", "connect_timeout", "http1_only", "http2_only", "pool_idle_timeout"),
    *("pool_max_idle_per_host", "proxy_ca_certificate", "proxy_excludes", "proxy_url", "read_timeout", "timeout"),
    "user_agent",
)
_STATUS: Final = re.compile(r"s - Server returned non-2xx status code: (\d{3})")
_DURATION: Final = re.compile(r" in [0-9.]+[nµm]?s(, after \d+ retries, max_retries: \d+, retry_timeout: \w+)?(?= - )")
# Each holds text that no key can hold, since keys occur in most messages: an angle bracket and a slash, a line feed.
_NO_BUCKET: Final = re.compile("<Code>(NoSuchBucket|ContainerNotFound)</Code>")
_NO_CONNECTION: Final = re.compile(r"\n +kind: Connect,\n")
_CONFLICT: Final = 409  # S3: another conditional request is under way
_FORBIDDEN: Final = (401, 403)
_NOT_IMPLEMENTED: Final = 501  # the object store does not know a header, and so wrote nothing
_NOT_FINAL: Final = (408, 425, 429)  # client errors that do not say whether the request was carried out

_used_in: int | None = None  # the process in which obstore has started its threads


class Version(NamedTuple):
    """The version of an object. Object stores use one of the fields, or both."""

    e_tag: str | None
    version: str | None


class Found(NamedTuple):
    """An object.

    Attributes:
        data: its bytes; None if it has more than were asked for.
        size: how many bytes it has.
        version: its version.
        note: our metadata of the object.
        modified: when it was written, in Unix time, by the clock of the object store.
    """

    data: bytes | None
    size: int
    version: Version
    note: str | None
    modified: float


class Listed(NamedTuple):
    """An object in a listing."""

    key: str
    size: int
    version: Version


class UnchangedError(Exception):
    """The object still has the version that is known."""


class ConflictError(Exception):
    """The object has another version than the one to replace: this request wrote nothing."""


class UnsentError(OSError):
    """There was no connection, so nothing was written."""


class UnansweredError(OSError):
    """There was no response, or none that tells: the object may have been written, or may still be."""


class Bucket:
    """The objects under one URL, such as ``s3://bucket/prefix``. It may be used from any thread.

    Args:
        url: with the scheme s3, gs or az.
        options: for obstore's ``from_url``.

    Raises:
        ModuleNotFoundError: obstore is not installed.
        ValueError: obstore does not accept the URL or an option.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        try:
            import obstore
            from obstore.store import from_url
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "ObjectBackend needs obstore: pip install 'petfleet[objects]'", name="obstore"
            ) from error
        scheme, separator, rest = url.partition("://")
        if scheme not in _ENVIRONMENTS or not separator or not rest.strip("/"):
            raise ValueError(f"url must be like s3://bucket/prefix, gs://... or az://..., not {url!r}")
        if set(rest) & set("?#%") or {".", ".."} & set(rest.split("/")):
            raise ValueError(f"url must not contain '?', '#', '%' or '..', which would change its meaning: {url!r}")
        self.url: str = url.rstrip("/")
        self._obstore = obstore
        given = dict(options)
        reads = {**_READ_RETRIES, **given.pop("retry_config", {})}
        client = {"timeout": _DEFAULT_TIMEOUT, **_from_environment(scheme), **given.pop("client_options", {})}
        try:
            self._reads: S3Store = from_url(self.url, client_options=client, retry_config=reads, **given)  # type: ignore[call-overload] # the options are the caller's
            # A put that obstore repeated could conflict with its own first try. So petfleet repeats puts itself, and
            # checks whether the first try happened.
            once = {**reads, "max_retries": 0}
            self._puts: S3Store = from_url(self.url, client_options=client, retry_config=once, **given)  # type: ignore[call-overload] # the options are the caller's
        except obstore.exceptions.BaseError as error:
            raise ValueError(f"{self.url}: {_text(error)}") from error

    def get(self, key: str, max_bytes: int, known: Version | None = None) -> Found | None:
        """Return the object, without its bytes if it has more than ``max_bytes``; None if there is none.

        Raises:
            UnchangedError: it still has the version ``known``.
            OSError: it could not be read. If the bucket does not exist, this is a FileNotFoundError.
        """
        self._begin(key)
        try:
            options: Any = {} if known is None or known.e_tag is None else {"if_none_match": known.e_tag}
            answer = self._obstore.get(self._reads, key, options=options)
            size = answer.meta["size"]
            data = None if size > max_bytes else bytes(answer.bytes())
        except self._obstore.exceptions.NotModifiedError:
            raise UnchangedError from None
        except FileNotFoundError as error:
            if _NO_BUCKET.search(str(error)):
                raise self._os_error(error, key) from error
            return None
        except self._obstore.exceptions.BaseError as error:
            raise self._os_error(error, key) from error
        version = Version(answer.meta["e_tag"], answer.meta["version"])
        return Found(data, size, version, answer.attributes.get(_NOTE), answer.meta["last_modified"].timestamp())

    def put(self, key: str, data: bytes, note: str, replacing: Version | None) -> Version:
        """Write an object, and return its new version.

        Args:
            key: of the object.
            data: its new bytes.
            note: its new metadata.
            replacing: the version that the object must have now; None if it must not exist.

        Raises:
            ConflictError: the object has another version; nothing was written.
            UnansweredError: the object may have been written, or may still be.
            OSError: nothing was written. If there was no connection, this is an UnsentError.
        """
        self._begin(key)
        mode: Any = "create"
        if replacing is not None:
            mode = {name: value for name, value in replacing._asdict().items() if value is not None}
        try:
            put = self._obstore.put(self._puts, key, data, attributes={_NOTE: note}, mode=mode)
        except NotImplementedError as error:  # conditions are switched off, perhaps by the environment
            raise OSError(errno.ENOTSUP, _text(error), f"{self.url}/{key}") from error
        except (FileNotFoundError, self._obstore.exceptions.BaseError) as error:
            raise self._put_error(error, key) from error
        return Version(put["e_tag"], put["version"])

    def list(self) -> Iterator[Listed]:
        """Yield each object under the URL, as the listing of the object store shows it.

        Raises:
            OSError: the objects could not be listed.
        """
        self._begin("")
        try:
            for chunk in self._obstore.list(self._reads):
                for each in chunk:
                    yield Listed(each["path"], each["size"], Version(each["e_tag"], each["version"]))
        except (FileNotFoundError, self._obstore.exceptions.BaseError) as error:
            raise self._os_error(error, "") from error

    def _begin(self, key: str) -> None:
        global _used_in
        if _used_in is None:
            _used_in = os.getpid()
        elif _used_in != os.getpid():
            # It would wait forever for threads that only the parent has.
            raise OSError(
                errno.ENOTSUP,
                "obstore cannot be used in a process forked from one that has used it: start processes by spawn, or "
                "fork before the first call",
                f"{self.url}/{key}",
            )

    def _put_error(self, error: Exception, key: str) -> Exception:
        known = self._obstore.exceptions
        status = _status(error)
        if not status and _NO_CONNECTION.search(str(error)):
            return self._os_error(error, key, UnsentError)
        if _NO_BUCKET.search(str(error)):
            return self._os_error(error, key)
        # FileNotFoundError: the object that the put should replace is gone.
        conflicts = (known.AlreadyExistsError, known.PreconditionError, FileNotFoundError)
        if isinstance(error, conflicts) or status == _CONFLICT:
            return ConflictError()
        if status == _NOT_IMPLEMENTED or "Received redirect without LOCATION" in _text(error):
            return self._os_error(error, key)
        if isinstance(error, known.NotSupportedError) or (400 <= status < 500 and status not in _NOT_FINAL):
            return self._os_error(error, key)
        return self._os_error(error, key, UnansweredError)

    def _os_error(self, error: Exception, key: str, kind: type[OSError] = OSError) -> OSError:
        number = errno.EIO
        if _status(error) in _FORBIDDEN:
            number = errno.EACCES
        elif _NO_BUCKET.search(str(error)):
            number = errno.ENOENT
        return kind(number, _text(error), f"{self.url}/{key}".rstrip("/"))


def _from_environment(scheme: str) -> dict[str, str]:
    """Return the client options from the environment, such as AWS_ALLOW_HTTP."""
    named = ((name, os.environ.get(f"{_ENVIRONMENTS[scheme]}_{name.upper()}")) for name in _CLIENT_OPTIONS)
    return {name: value for name, value in named if value is not None}


def _status(error: Exception) -> int:
    """Return the HTTP status of the response; 0 if there was none."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else 0


def _text(error: Exception) -> str:
    """Return the message of an error of obstore in one line, without the Rust objects and the durations in it."""
    # With its duration, the same outage would be a new error at each poll, and watches would raise it each time.
    return _DURATION.sub("", " ".join(str(error).partition("\n\nDebug source:")[0].split()))
