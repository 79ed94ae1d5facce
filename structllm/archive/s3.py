"""Objects in a bucket of Amazon S3, or of a server that speaks its language.

**Never overwriting.** A put carries `If-None-Match: *`, which Amazon S3 honours for every bucket. Other servers may
refuse the header, or not know it and overwrite silently. With `conditional_writes="auto"` a store finds out which it
has, once, and nothing is left behind by that:

- Where the endpoint is Amazon's, the header is relied upon.
- A server that refuses it (NotImplemented, InvalidArgument, InvalidRequest) and takes the same object without has none.
- Of any other server it is not known until an object of at most 64 KiB was stored: that is put once more, the same
  bytes under the same key. 412 proves that the header works; 200 proves that it does not, and has replaced the object
  by itself (in a versioned bucket by one more version). Until then there is a HEAD before each put as well.

Where there is no such header, each put is a HEAD and then a PUT. Two writers at the same moment can then overwrite each
other. The archive's keys hold random digits of the writer and the bytes of a segment never change, so what would be
overwritten is the same; an object of somebody else that appears between the two requests would be lost.

**Checksums.** Each put tells the SHA-256. It counts as confirmed when the server answers with it, or with an ETag that
is the MD5 of the bytes; else the object is read back and compared.

boto3 is imported when the first request is made: it takes a third of a second, and the read side rarely needs it.
"""

import base64
import errno
import hashlib
import re
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.util import find_spec
from io import BufferedReader, RawIOBase
from typing import Any, Literal
from urllib.parse import urlsplit

from structllm import __version__
from structllm.archive.endpoints import INSECURE, endpoint_problem, resolved_problem
from structllm.archive.s3_errors import CREDENTIAL_REASONS, error_code, reason_of, status_code, store_error
from structllm.archive.store import Found, ObjectExists, StoreError, StoreRefused, StoreUnavailable
from structllm.errors import MissingExtra

_PROBE_BYTES = 64 << 10
_READ_BYTES = 1 << 16
_HEADER_REFUSED = frozenset({"InvalidArgument", "InvalidRequest", "NotImplemented"})
_HEX_SHA256 = re.compile("[0-9a-f]{64}")


class S3Store:
    """A prefix in a bucket. Credentials come from boto3's own chain (environment, profile, role) alone.

    Args:
        bucket: Its name, or the ARN of an access point.
        prefix: What all keys begin with; a '/' follows it.
        region: Of the bucket; boto3's own setting where None.
        endpoint_url: Of another server than Amazon's, e.g. `http://127.0.0.1:8333`.
        allow_insecure_endpoint: Use whatever endpoint there is, also one that `endpoints.py` refuses.
        profile: Of the AWS configuration files.
        sse: Server-side encryption, `AES256` or `aws:kms`; what the bucket does by itself where None.
        kms_key_id: For `aws:kms`.
        storage_class: E.g. `STANDARD_IA`.
        object_lock_mode: `GOVERNANCE` or `COMPLIANCE`, with `object_lock_days`.
        object_lock_days: How long an object can be neither deleted nor replaced, counted from its put.
        expected_bucket_owner: Number of the AWS account that must own the bucket; others refuse every request.
        conditional_writes: `auto`, or `never` for a server known to have none. See the module.
        addressing_style: Where the bucket's name stands: `path` or `virtual`. `auto` is the path where there is an
            `endpoint_url`, since few such servers have a name for each bucket, and boto3's choice otherwise.
        connect_timeout_s: For a connection.
        read_timeout_s: For each wait for bytes.
        total_attempts: Of each request. 1 for who tries again by himself; a reader takes more.
        now: The clock, for Object Lock.

    Raises:
        MissingExtra: boto3 is not installed.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        allow_insecure_endpoint: bool = False,
        profile: str | None = None,
        sse: Literal["AES256", "aws:kms"] | None = None,
        kms_key_id: str | None = None,
        storage_class: str | None = None,
        object_lock_mode: Literal["GOVERNANCE", "COMPLIANCE"] | None = None,
        object_lock_days: int | None = None,
        expected_bucket_owner: str | None = None,
        conditional_writes: Literal["auto", "never"] = "auto",
        addressing_style: Literal["auto", "path", "virtual"] = "auto",
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 30.0,
        total_attempts: int = 1,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if find_spec("boto3") is None:
            raise MissingExtra("S3 sink", "boto3", "s3")
        trimmed = prefix.strip("/")
        self._prefix = f"{trimmed}/" if trimmed else ""
        self.place = f"s3://{bucket}/{trimmed}".rstrip("/")
        self._where = {"Bucket": bucket} | _given(ExpectedBucketOwner=expected_bucket_owner)
        self._kept = _given(ServerSideEncryption=sse, SSEKMSKeyId=kms_key_id, StorageClass=storage_class)
        self._lock_mode = object_lock_mode
        self._lock_days = object_lock_days or 0
        self._now = now
        self._session = _given(profile_name=profile, region_name=region)
        self._endpoint_url = endpoint_url
        self._any_endpoint = allow_insecure_endpoint
        self._config: dict[str, Any] = {
            "retries": {"total_max_attempts": total_attempts, "mode": "standard"},
            "connect_timeout": connect_timeout_s,
            "read_timeout": read_timeout_s,
            "s3": {"addressing_style": "path" if endpoint_url and addressing_style == "auto" else addressing_style},
            "user_agent_extra": f"structllm/{__version__}",
        }
        # True: If-None-Match works. False: it does not. None: not known yet.
        self._conditional: bool | None = None if conditional_writes == "auto" else False
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Let go of connections and a lock that belong to the parent process."""
        self._making = threading.Lock()
        self._client: Any = None

    def close(self) -> None:
        """Close idle connections. The store can be used on, and makes new ones then."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @property
    def endpoint(self) -> str:
        """The host that requests go to, whoever named it: the settings, a variable or profile, or boto3 by itself.

        Raises:
            StoreError: It is refused, or boto3 does not know one.
        """
        with self._translating(""):
            url: str = self._s3().meta.endpoint_url
            return urlsplit(url).netloc.rpartition("@")[2]

    @property
    def conditional_writes(self) -> bool | None:
        """Whether the server is known to honour `If-None-Match` (True) or not to (False); None before it is known."""
        return self._conditional

    def put(self, key: str, body: bytes, *, sha256: str, metadata: Mapping[str, str]) -> None:
        """Store an object that is not there yet. See Store.put, and the module."""
        if hashlib.sha256(body).hexdigest() != sha256:
            raise StoreRefused(
                "bad_digest", f"the bytes for {self.place} are not those of the checksum; read them anew"
            )
        with self._translating(key):
            self._put(key, self._request(key, body, sha256, metadata))

    def find(self, key: str) -> Found | None:
        """Return what is known of an object; None where there is none, or no bucket: a HEAD tells no difference."""
        with self._translating(key):
            try:
                return self._head(key)
            except Exception as error:
                if status_code(error) == 404:
                    return None
                raise

    @contextmanager
    def open(self, key: str) -> Generator[BufferedReader]:
        """Open an object for reading.

        A connection that ends before the object does is an OSError of the read, and so is a checksum that is wrong at
        the end.
        """
        with self._translating(key):
            answer = self._s3().get_object(**self._where, Key=self._prefix + key)
        with _reader(answer["Body"], answer["ContentLength"], self.place) as reader:
            yield reader

    def under(self, prefix: str) -> Iterator[Found]:
        """Yield the objects whose keys begin so, a page of up to 1,000 at a time, in the server's order.

        That is by key, except that some servers (SeaweedFS) sort each directory by itself, so that `a/` comes before
        `a.b`. Keys of an archive come in the same order either way.
        """
        with self._translating(prefix):
            paginator = self._s3().get_paginator("list_objects_v2")
            pages = iter(paginator.paginate(**self._where, Prefix=self._prefix + prefix))
        while True:
            with self._translating(prefix):
                page = next(pages, None)
            if page is None:
                return
            for item in page.get("Contents", ()):
                key = item["Key"].removeprefix(self._prefix)
                if key and not key.endswith("/"):  # consoles make "directories", which are empty objects
                    yield Found(key, item["Size"])

    def check(self) -> list[str]:
        """Return what stands against writing, as far as can be known without writing: one listing of one key.

        A role that may write and not list is told so, although writing works.
        """
        # Unlike a HEAD of the bucket, a listing is answered with a code that tells a wrong key from a missing right.
        try:
            with self._translating(""):
                self._s3().list_objects_v2(**self._where, Prefix=self._prefix, MaxKeys=1)
        except StoreError as error:
            ignore = "; a role that may only write can ignore this" if error.reason == "access_denied" else ""
            return [f"{error}{ignore}"]
        return []

    def _put(self, key: str, request: dict[str, Any]) -> None:
        conditional = self._conditional
        if conditional is not True:
            self._refuse_existing(key, surely=conditional is False)
            # A server that verifies no SHA-256 verifies this one.
            md5 = hashlib.md5(request["Body"], usedforsecurity=False).digest()
            request["ContentMD5"] = base64.b64encode(md5).decode()
        answer = self._s3().put_object(**request) if conditional is False else self._put_conditionally(key, request)
        self._confirm(key, request, answer)
        if self._conditional is None and len(request["Body"]) <= _PROBE_BYTES:
            self._probe(request)

    def _put_conditionally(self, key: str, request: dict[str, Any]) -> Any:
        try:
            return self._s3().put_object(**request, IfNoneMatch="*")
        except Exception as error:
            if self._conditional is True or error_code(error) not in _HEADER_REFUSED:
                raise
        self._refuse_existing(key, surely=True)
        answer = self._s3().put_object(**request)  # what else is wrong with the request is raised here
        self._conditional = False
        return answer

    def _refuse_existing(self, key: str, *, surely: bool) -> None:
        """Raise ObjectExists where a HEAD finds the object; where not even that is allowed, only `surely` minds."""
        try:
            self._head(key)
        except Exception as error:
            if status_code(error) == 404 or (status_code(error) in {400, 403} and not surely):
                return
            raise
        raise ObjectExists(key)

    def _probe(self, request: dict[str, Any]) -> None:
        """Store what has just been stored once more, to learn whether the server refuses to."""
        try:
            self._s3().put_object(**request, IfNoneMatch="*")
        except Exception as error:
            if reason_of(error) == "exists":
                self._conditional = True
            return  # anything else tells nothing, and the object is stored
        self._conditional = False

    def _confirm(self, key: str, request: dict[str, Any], answer: Mapping[str, Any]) -> None:
        """Make sure that the server holds what was sent."""
        if answer.get("ChecksumSHA256") == request["ChecksumSHA256"]:
            return
        body: bytes = request["Body"]
        if str(answer.get("ETag", "")).strip('"') == hashlib.md5(body, usedforsecurity=False).hexdigest():
            return
        stored = self._s3().get_object(**self._where, Key=self._prefix + key)["Body"]
        try:
            same = stored.read(len(body) + 1) == body
        finally:
            stored.close()
        if not same:
            raise StoreRefused("bad_digest", f"{self.place} holds other bytes than were sent: it verifies no checksum")

    def _request(self, key: str, body: bytes, sha256: str, metadata: Mapping[str, str]) -> dict[str, Any]:
        request: dict[str, Any] = {**self._where, **self._kept, "Key": self._prefix + key, "Body": body}
        request["ChecksumAlgorithm"] = "SHA256"
        request["ChecksumSHA256"] = base64.b64encode(bytes.fromhex(sha256)).decode()
        # A server that keeps no checksums keeps this one.
        request["Metadata"] = {**metadata, "sha256": sha256}
        if self._lock_mode is not None:
            request["ObjectLockMode"] = self._lock_mode
            request["ObjectLockRetainUntilDate"] = self._now() + timedelta(days=self._lock_days)
        return request

    def _head(self, key: str) -> Found:
        answer = self._s3().head_object(**self._where, Key=self._prefix + key, ChecksumMode="ENABLED")
        return Found(key, answer["ContentLength"], _sha256_of(answer))

    @contextmanager
    def _translating(self, key: str) -> Generator[None]:
        """Let nothing but StoreErrors out, and forget a client whose credentials were of no use."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            failure = store_error(error, self.place, key)
            if failure.reason in CREDENTIAL_REASONS:
                self.close()
            raise failure from None  # no traceback is to show the server's own words

    def _s3(self) -> Any:
        client = self._client
        if client is None:
            with self._making:
                client = self._client
                if client is None:
                    client = self._client = self._new_client()
        return client

    def _new_client(self) -> Any:
        try:
            boto3, config = import_module("boto3"), import_module("botocore.config")
        except ImportError as error:
            text = f"boto3 cannot be loaded ({type(error).__name__}): pip install --force-reinstall boto3"
            raise StoreUnavailable("no_boto3", text) from None
        # A session of our own: the default one belongs to the host program and is not safe to share.
        session = boto3.session.Session(**self._session)
        client = session.client("s3", endpoint_url=self._endpoint_url, config=config.Config(**self._config))
        endpoint_url: str = client.meta.endpoint_url
        if not self._any_endpoint:
            # Also what came from AWS_ENDPOINT_URL or a profile, which no setting of ours has seen.
            problem = (endpoint_problem if _is_amazon(endpoint_url) else resolved_problem)(endpoint_url)
            if problem is not None:
                raise StoreUnavailable("endpoint_refused", f"the endpoint of {self.place} {problem}, or set {INSECURE}")
        if self._conditional is None and _is_amazon(endpoint_url):
            self._conditional = True
        return client


class _Body(RawIOBase):
    """The bytes of an object as they arrive, which end where the object does or with an OSError."""

    def __init__(self, stream: Any, size_bytes: int, place: str) -> None:
        self._stream = stream
        self._left = size_bytes
        self._place = place

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read up to as many bytes as there is room for."""
        try:
            data: bytes = self._stream.read(len(buffer))
        except Exception as error:
            failure = type(error).__name__
        else:
            self._left -= len(data)
            if data or not len(buffer) or not self._left:
                buffer[: len(data)] = data
                return len(data)
            failure = f"{self._left} bytes are missing"
        raise OSError(errno.EIO, f"the object could not be read to its end from {self._place} ({failure})")

    def close(self) -> None:
        """Let go of the connection."""
        if not self.closed:
            self._stream.close()
        super().close()


def _reader(stream: Any, size_bytes: int, place: str) -> BufferedReader:
    return BufferedReader(_Body(stream, size_bytes, place), _READ_BYTES)


def _given(**values: Any) -> dict[str, Any]:
    """Return those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _sha256_of(answer: Mapping[str, Any]) -> str | None:
    checksum = answer.get("ChecksumSHA256")
    # That of an object in parts is a checksum of checksums, which proves other things.
    if isinstance(checksum, str) and answer.get("ChecksumType") != "COMPOSITE" and "-" not in checksum:
        return base64.b64decode(checksum).hex()
    kept = answer.get("Metadata", {}).get("sha256", "")
    return kept if _HEX_SHA256.fullmatch(kept) else None


def _is_amazon(endpoint_url: str) -> bool:
    return (urlsplit(endpoint_url).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
