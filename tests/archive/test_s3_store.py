"""The S3 store: with SeaweedFS, through a proxy that breaks things, and with a server that says what it is told."""

import base64
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest

from structllm.archive.s3 import S3Store, _reader
from structllm.archive.s3_errors import reason_of, store_error
from structllm.archive.store import Found, ObjectExists, StoreError, StoreRefused, StoreUnavailable
from structllm.errors import MissingExtra
from tests.archive import proxy as faults
from tests.archive import scripted as told
from tests.archive.conftest import NewStore, empty_bucket, new_bucket, use
from tests.archive.proxy import Proxy
from tests.archive.scripted import Answer, ScriptedS3
from tests.archive.servers import Credentials, Rclone, SeaweedFS
from tests.waiting import comes_true

BODY = random.Random(4).randbytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
KEY = "v1/dt=2024-01-15/hour=10/a.jsonl.zst"


def put(store: S3Store, body: bytes = BODY, key: str = KEY) -> None:
    """Store these bytes under their right checksum."""
    store.put(key, body, sha256=hashlib.sha256(body).hexdigest(), metadata={"records": "3"})


def failure_of_put(store: S3Store, body: bytes = BODY) -> StoreError:
    """Return what a put raises."""
    with pytest.raises(StoreError) as caught:
        put(store, body)
    return caught.value


def tried(call: Callable[[], Found | None]) -> Found | str:
    """Return what a call returns, `stored` for nothing, or the reason why it failed."""
    try:
        return call() or "stored"
    except StoreError as error:
        return error.reason


def body_in(server: SeaweedFS | Rclone, bucket: str, key: str = KEY) -> bytes | None:
    """Return an object's bytes, not asked through a store; None where there is none."""
    client = server.client()
    try:
        names = [item["Key"] for item in client.list_objects_v2(Bucket=bucket).get("Contents", ())]
        return client.get_object(Bucket=bucket, Key=key)["Body"].read() if key in names else None
    finally:
        client.close()


@pytest.fixture
def proxied(bucket: str, proxy: Proxy, new_store: NewStore) -> S3Store:
    """Return a store whose requests go through the proxy; it knows already that conditional writes work."""
    store = new_store(bucket, endpoint_url=proxy.url, read_timeout_s=1)
    put(store, b"first", key="first")
    assert store.conditional_writes is True
    proxy.requests.clear()
    return store


@pytest.fixture
def asking(scripted: ScriptedS3, new_store: NewStore) -> S3Store:
    """Return a store in front of the scripted server; it knows already that conditional writes work."""
    store = new_store("logs", endpoint_url=scripted.url)
    put(store, b"first", key="first")
    assert store.conditional_writes is True
    scripted.requests.clear()
    return store


class TestConditionalWrites:
    """How a store learns whether the server honours `If-None-Match`, and what it does then."""

    def test_honoured(self, bucket: str, proxy: Proxy, new_store: NewStore) -> None:
        """Once the header is proved, a put is one request, also where the key is taken."""
        store = new_store(bucket, endpoint_url=proxy.url)
        assert store.conditional_writes is None
        put(store, b"small", key="small")
        assert store.conditional_writes is True
        proxy.requests.clear()
        put(store)
        with pytest.raises(ObjectExists):
            put(store, b"other")
        assert ["PUT", "PUT"] == [method for method, _ in proxy.requests]

    def test_nothing_is_left_behind(
        self, seaweedfs: SeaweedFS, new_store: NewStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Learning it stores nothing but the object: one key, and one version of it."""
        use(monkeypatch, seaweedfs.credentials)
        bucket = new_bucket(seaweedfs)
        client = seaweedfs.client()
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        put(new_store(bucket, endpoint_url=seaweedfs.url), b"small")
        versions = client.list_object_versions(Bucket=bucket)["Versions"]
        client.close()
        assert [KEY] == [version["Key"] for version in versions]

    def test_large_objects_prove_nothing(self, bucket: str, proxy: Proxy, new_store: NewStore) -> None:
        """A large object is not sent twice to learn it; until it is known there is a HEAD before each put."""
        store = new_store(bucket, endpoint_url=proxy.url)
        put(store)
        assert store.conditional_writes is None
        assert ["HEAD", "PUT"] == [method for method, _ in proxy.requests]
        with pytest.raises(ObjectExists):
            put(store, b"other")
        assert ["HEAD", "PUT", "HEAD"] == [method for method, _ in proxy.requests]

    def test_silently_ignored(self, rclone: Rclone, new_store: NewStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that ignores the header is found out, and then every put is a HEAD and a PUT without it."""
        use(monkeypatch, rclone.credentials)
        bucket = empty_bucket(rclone)
        with Proxy(rclone.port) as proxy:
            store = new_store(bucket, endpoint_url=proxy.url)
            put(store, b"small", key="small")
            assert store.conditional_writes is False
            proxy.requests.clear()
            put(store)
            with pytest.raises(ObjectExists):
                put(store, b"other")
            assert ["HEAD", "PUT", "HEAD"] == [method for method, _ in proxy.requests]
            store.close()
        assert BODY == body_in(rclone, bucket)

    def test_before_it_is_known(self, rclone: Rclone, new_store: NewStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not even the first put of a store overwrites an object on a server that ignores the header."""
        use(monkeypatch, rclone.credentials)
        bucket = empty_bucket(rclone)
        put(new_store(bucket, endpoint_url=rclone.url), b"foreign")
        with pytest.raises(ObjectExists):
            put(new_store(bucket, endpoint_url=rclone.url), b"mine")
        assert b"foreign" == body_in(rclone, bucket)

    @pytest.mark.parametrize("answer", [told.HEADER_UNKNOWN, Answer(400, "InvalidArgument")])
    def test_refused(self, scripted: ScriptedS3, new_store: NewStore, answer: Answer) -> None:
        """A server that refuses the header and takes the same put without it gets no more of them."""
        scripted.script = lambda request: answer if "if-none-match" in request.headers else None
        store = new_store("logs", endpoint_url=scripted.url)
        put(store)
        assert store.conditional_writes is False
        put(store, key="another")
        assert ["HEAD", "PUT", "HEAD", "PUT", "HEAD", "PUT"] == scripted.methods()
        assert {f"/logs/{KEY}": BODY, "/logs/another": BODY} == scripted.objects

    def test_refused_for_another_reason(self, scripted: ScriptedS3, new_store: NewStore) -> None:
        """A put that is refused without the header as well tells nothing about it."""
        scripted.script = lambda request: Answer(400, "InvalidArgument") if request.method == "PUT" else None
        store = new_store("logs", endpoint_url=scripted.url)
        assert "bad_request" == failure_of_put(store).reason
        assert store.conditional_writes is None

    def test_known_ones_stay_known(self, asking: S3Store, scripted: ScriptedS3) -> None:
        """Once the header is proved, no refusal makes a store put without it."""
        scripted.say(told.HEADER_UNKNOWN)
        assert "unsupported" == failure_of_put(asking).reason
        assert ["PUT"] == scripted.methods()
        assert asking.conditional_writes is True

    def test_never(self, bucket: str, proxy: Proxy, new_store: NewStore) -> None:
        """With `never` there is a HEAD before each put from the first one on, and no header."""
        store = new_store(bucket, endpoint_url=proxy.url, conditional_writes="never")
        put(store, b"small")
        assert ["HEAD", "PUT"] == [method for method, _ in proxy.requests]
        assert store.conditional_writes is False

    def test_may_not_look(
        self, bucket: str, seaweedfs: SeaweedFS, new_store: NewStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who may only write, writes where the header works; what is there cannot be looked at."""
        use(monkeypatch, seaweedfs.writer)
        store = new_store(bucket, endpoint_url=seaweedfs.url)
        put(store, b"small")
        assert store.conditional_writes is True
        with pytest.raises(ObjectExists):
            put(store, b"other")
        with pytest.raises(StoreUnavailable) as caught:
            store.find(KEY)
        assert "access_denied" == caught.value.reason
        blind = new_store(bucket, endpoint_url=seaweedfs.url, conditional_writes="never")
        assert "access_denied" == failure_of_put(blind, b"other").reason
        assert b"small" == body_in(seaweedfs, bucket)

    def test_amazon_is_known(self, new_store: NewStore) -> None:
        """Amazon's own endpoints honour the header; making the client for one asks nobody."""
        store = new_store("logs", region="eu-central-1")
        assert ".amazonaws.com" in store._s3().meta.endpoint_url
        assert store.conditional_writes is True


class TestBrokenConnections:
    """What a store says of a put or a read in the middle of which the network fails."""

    @pytest.mark.parametrize("after_bytes", [0, 1, 100_000, 299_999])
    def test_cut(self, proxied: S3Store, proxy: Proxy, seaweedfs: SeaweedFS, bucket: str, after_bytes: int) -> None:
        """A connection that breaks while the body is sent is `connection`, and no part of an object is there."""
        proxy.on("PUT", faults.Cut(after_bytes))
        assert ("connection", 1) == (failure_of_put(proxied).reason, proxy.count("PUT"))
        assert body_in(seaweedfs, bucket) is None
        proxy.heal()
        put(proxied)
        assert BODY == body_in(seaweedfs, bucket)

    @pytest.mark.parametrize("fault", [faults.LoseReply(), faults.ReplaceReply(500)])
    def test_lost_reply(self, proxied: S3Store, proxy: Proxy, fault: faults.Fault) -> None:
        """Where only the answer is lost, the next try finds the object there, and its checksum tells whose it is."""
        proxy.on("PUT", fault, times=1)
        assert {"connection", "server_error"} >= {failure_of_put(proxied).reason}
        with pytest.raises(ObjectExists):
            put(proxied)
        assert Found(KEY, len(BODY), SHA256) == proxied.find(KEY)

    @pytest.mark.parametrize("fault", [faults.Stall(), faults.Stall(100_000)])
    def test_stall(self, proxied: S3Store, proxy: Proxy, fault: faults.Fault) -> None:
        """A connection on which nothing moves any more is given up after the read timeout, at the first attempt."""
        proxy.on("PUT", fault)
        assert ("timeout", 1) == (failure_of_put(proxied).reason, proxy.count("PUT"))

    @pytest.mark.parametrize("at_byte", [0, 150_000, 299_999])
    def test_corrupted(self, proxied: S3Store, proxy: Proxy, seaweedfs: SeaweedFS, bucket: str, at_byte: int) -> None:
        """One turned bit on the way is refused by the server, and nothing is stored."""
        proxy.on("PUT", faults.Corrupt(at_byte), times=1)
        failure = failure_of_put(proxied)
        assert (StoreRefused, "bad_digest") == (type(failure), failure.reason)
        assert body_in(seaweedfs, bucket) is None
        put(proxied)

    def test_corrupted_without_sha256(
        self, rclone: Rclone, new_store: NewStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server that verifies no SHA-256 does not take a turned bit either."""
        use(monkeypatch, rclone.credentials)
        bucket = empty_bucket(rclone)
        with Proxy(rclone.port) as proxy:
            store = new_store(bucket, endpoint_url=proxy.url)
            proxy.on("PUT", faults.Corrupt(150_000))
            failure = failure_of_put(store)
            store.close()
        assert (StoreRefused, "bad_digest") == (type(failure), failure.reason)
        assert body_in(rclone, bucket) is None

    @pytest.mark.parametrize(
        "fault",
        [
            faults.CutReply(0),
            faults.CutReply(100_000),
            faults.CutReply(299_999),
            faults.CutReply(100_000, reset=True),
            faults.StallReply(100_000),
            faults.CorruptReply(150_000),
        ],
    )
    @pytest.mark.parametrize("piece", [-1, 1000])
    def test_read(self, proxied: S3Store, proxy: Proxy, fault: faults.Fault, piece: int) -> None:
        """A read that does not get the whole object, or another one, is an OSError, never just shorter."""
        put(proxied)
        proxy.on("GET", fault)
        with pytest.raises(OSError, match="could not be read to its end"), proxied.open(KEY) as file:
            list(iter(lambda: file.read(piece), b""))

    @pytest.mark.parametrize("piece", [-1, 3])
    def test_read_of_a_silent_stream(self, piece: int) -> None:
        """A stream that just ends too early is found out by the length that was announced."""
        with pytest.raises(OSError, match="3 bytes are missing"), _reader(BytesIO(b"whole"), 8, "s3://logs") as file:
            list(iter(lambda: file.read(piece), b""))
        with _reader(BytesIO(b"whole"), 5, "s3://logs") as file:
            assert b"whole" == file.read()

    def test_nobody_there(self, seaweedfs: SeaweedFS, new_store: NewStore) -> None:
        """Where nobody listens, every method says so in one sentence."""
        with Proxy(seaweedfs.port) as proxy:
            url = proxy.url
        store = new_store("logs", endpoint_url=url)
        with pytest.raises(StoreUnavailable) as caught:
            list(store.under(""))
        assert "connection" == caught.value.reason
        assert "connection" == failure_of_put(store).reason
        (problem,) = store.check()
        assert problem.startswith("no connection to s3://logs; check the network")

    def test_server_is_killed_and_comes_back(
        self, tmp_path: Path, new_store: NewStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A store outlives its server: what was confirmed is there after the restart, and a new put arrives."""
        with SeaweedFS(tmp_path / "data") as server:
            use(monkeypatch, server.credentials)
            store = new_store(new_bucket(server), endpoint_url=server.url)
            put(store)
            server.stop(kill=True)
            assert "connection" == failure_of_put(store).reason
            server.start()
            # It answers before all of its parts have found each other again.
            assert comes_true(lambda: tried(lambda: store.find(KEY)) == Found(KEY, len(BODY), SHA256), 60)
            assert comes_true(lambda: tried(lambda: put(store, key="another")) in {"stored", "exists"}, 60)
            store.close()


PUT_FAILURES = [
    (told.SLOW_DOWN, StoreUnavailable, "throttled"),
    (told.TOO_MANY, StoreUnavailable, "throttled"),
    (Answer(429), StoreUnavailable, "throttled"),
    (told.INTERNAL_ERROR, StoreUnavailable, "server_error"),
    (told.BAD_GATEWAY, StoreUnavailable, "server_error"),
    (Answer(503, "ServiceUnavailable"), StoreUnavailable, "server_error"),
    (Answer(507), StoreUnavailable, "store_full"),
    (told.CONFLICT, StoreUnavailable, "conflict"),
    (Answer(409, "OperationAborted"), StoreUnavailable, "conflict"),
    (Answer(400, "RequestTimeout"), StoreUnavailable, "timeout"),
    (Answer(400, "IncompleteBody"), StoreUnavailable, "connection"),
    (told.EXPIRED_TOKEN, StoreUnavailable, "expired_credentials"),
    (told.CLOCK_SKEW, StoreUnavailable, "clock_skew"),
    (told.ACCESS_DENIED, StoreUnavailable, "access_denied"),
    (Answer(403), StoreUnavailable, "access_denied"),
    (Answer(403, "InvalidAccessKeyId"), StoreUnavailable, "bad_credentials"),
    (Answer(403, "SignatureDoesNotMatch"), StoreUnavailable, "bad_credentials"),
    (told.NO_SUCH_BUCKET, StoreUnavailable, "no_such_bucket"),
    (told.WRONG_REGION, StoreUnavailable, "wrong_region"),
    (Answer(400, "AuthorizationHeaderMalformed"), StoreUnavailable, "wrong_region"),
    (Answer(400, "KMS.DisabledException"), StoreUnavailable, "kms"),
    (Answer(400, "InvalidStorageClass"), StoreUnavailable, "bad_request"),
    (Answer(501, "NotImplemented"), StoreUnavailable, "unsupported"),
    (told.BAD_DIGEST, StoreRefused, "bad_digest"),
    (Answer(400, "XAmzContentSHA256Mismatch"), StoreRefused, "bad_digest"),
    (told.TOO_LARGE, StoreRefused, "too_large"),
    (Answer(413), StoreRefused, "too_large"),
    (Answer(400, "KeyTooLongError"), StoreRefused, "key_refused"),
    (Answer(412, "PreconditionFailed"), ObjectExists, "exists"),
]


class TestAnswers:
    """What becomes of the server's codes."""

    @pytest.mark.parametrize(("answer", "kind", "reason"), PUT_FAILURES)
    def test_put(
        self, asking: S3Store, scripted: ScriptedS3, answer: Answer, kind: type[StoreError], reason: str
    ) -> None:
        """Each answer has one word and one sentence, without the server's words, at the first attempt."""
        scripted.script = lambda request: answer if request.method == "PUT" else None
        failure = failure_of_put(asking)
        assert (kind, reason) == (type(failure), failure.reason)
        assert 1 == scripted.methods().count("PUT")
        assert "told so" not in str(failure)
        assert failure.__suppress_context__
        assert len(str(failure).splitlines()) == 1

    def test_region(self, asking: S3Store, scripted: ScriptedS3) -> None:
        """A bucket in another region is said to be, and in which one."""
        answer = Answer(301, "PermanentRedirect", {"x-amz-bucket-region": "eu-west-3"})
        scripted.script = lambda request: answer
        failure = failure_of_put(asking)
        assert "the bucket of s3://logs is in another region, eu-west-3; correct 'region' (PermanentRedirect)" == str(
            failure
        )

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [(Answer(403), "access_denied"), (Answer(503), "server_error"), (Answer(400), "bad_request")],
    )
    def test_find(self, asking: S3Store, scripted: ScriptedS3, answer: Answer, reason: str) -> None:
        """A HEAD that fails is never taken for `not there`."""
        scripted.say(answer, method="HEAD")
        with pytest.raises(StoreUnavailable) as caught:
            asking.find(KEY)
        assert reason == caught.value.reason

    def test_new_credentials_are_found(
        self, seaweedfs: SeaweedFS, new_store: NewStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A store that failed for its credentials takes those that are there at the next try, without a restart."""
        bucket = empty_bucket(seaweedfs)
        store = new_store(bucket, endpoint_url=seaweedfs.url)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        assert "no_credentials" == failure_of_put(store).reason
        use(monkeypatch, Credentials.drawn())
        # A first put begins with a HEAD, whose refusal has no code.
        assert {"bad_credentials", "access_denied"} >= {failure_of_put(store).reason}
        use(monkeypatch, Credentials(seaweedfs.credentials.key, "wrong"))
        assert {"bad_credentials", "access_denied"} >= {failure_of_put(store).reason}
        use(monkeypatch, seaweedfs.reader)
        assert "access_denied" == failure_of_put(store).reason
        use(monkeypatch, seaweedfs.credentials)
        put(store)
        assert BODY == body_in(seaweedfs, bucket)

    def test_no_secret_in_sentences(
        self, seaweedfs: SeaweedFS, new_store: NewStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No key and no secret is in what a store says of wrong ones."""
        wrong = Credentials.drawn()
        use(monkeypatch, wrong)
        store = new_store(empty_bucket(seaweedfs), endpoint_url=seaweedfs.url)
        said = " ".join([*store.check(), str(failure_of_put(store))])
        assert "check the access key" in said
        assert wrong.key not in said
        assert wrong.secret not in said

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"profile": "nobody"}, "no_such_profile"),
            ({"endpoint_url": "nonsense"}, "client"),
            ({"endpoint_url": "http://127.0.0.1:1/", "region": "no such region"}, "client"),
        ],
    )
    def test_wrong_settings(self, new_store: NewStore, options: dict[str, str], reason: str) -> None:
        """Settings that boto3 cannot use are found at the first request, as StoreUnavailable."""
        store = new_store("logs", **options)
        assert reason == failure_of_put(store).reason

    def test_missing_bucket(self, seaweedfs: SeaweedFS, new_store: NewStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """A bucket that is not there is named, by a put and by a check; nothing makes it."""
        use(monkeypatch, seaweedfs.credentials)
        store = new_store("no-such-bucket", "team", endpoint_url=seaweedfs.url)
        expected = (
            "there is no bucket for s3://no-such-bucket/team; make it, or correct 'bucket', 'region' and"
            " 'endpoint_url' (NoSuchBucket)"
        )
        assert expected == str(failure_of_put(store))
        assert [expected] == store.check()

    def test_check_as_a_writer(
        self, bucket: str, seaweedfs: SeaweedFS, new_store: NewStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who may only write is told that nothing can be said about that."""
        use(monkeypatch, seaweedfs.writer)
        (problem,) = new_store(bucket, endpoint_url=seaweedfs.url).check()
        assert problem.endswith("a role that may only write can ignore this")

    def test_unknown_errors(self) -> None:
        """What nobody has thought of is still one of our errors; an OSError is the network's."""
        assert "client" == reason_of(RuntimeError("secret"))
        assert "connection" == reason_of(ConnectionResetError())
        assert "secret" not in str(store_error(RuntimeError("secret"), "s3://logs"))


class TestRequests:
    """What a put carries."""

    def test_headers(self, scripted: ScriptedS3, new_store: NewStore) -> None:
        """Encryption, class, lock, owner, checksum, condition and metadata are in the headers, as they were set."""
        store = new_store(
            "logs",
            "team/llm",
            endpoint_url=scripted.url,
            sse="aws:kms",
            kms_key_id="alias/audit",
            storage_class="STANDARD_IA",
            object_lock_mode="COMPLIANCE",
            object_lock_days=30,
            expected_bucket_owner="123456789012",
            now=lambda: datetime(2024, 1, 15, 10, tzinfo=UTC),
        )
        put(store, b"body")
        head, request = scripted.requests[:2]
        expected = {
            "if-none-match": "*",
            "x-amz-sdk-checksum-algorithm": "SHA256",
            "x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(b"body").digest()).decode(),
            "x-amz-server-side-encryption": "aws:kms",
            "x-amz-server-side-encryption-aws-kms-key-id": "alias/audit",
            "x-amz-storage-class": "STANDARD_IA",
            "x-amz-object-lock-mode": "COMPLIANCE",
            "x-amz-object-lock-retain-until-date": "2024-02-14T10:00:00Z",
            "x-amz-expected-bucket-owner": "123456789012",
            "x-amz-meta-records": "3",
            "x-amz-meta-sha256": hashlib.sha256(b"body").hexdigest(),
            "content-length": "4",
        }
        sent = {name: request.headers.get(name) for name in expected}
        assert expected == sent
        assert b"body" == request.body
        assert "/logs/team/llm/" + KEY == request.path
        assert "structllm/" in request.headers["user-agent"]
        assert "123456789012" == head.headers["x-amz-expected-bucket-owner"]

    def test_unset(self, asking: S3Store, scripted: ScriptedS3) -> None:
        """What is not set is not sent, so that the bucket's own settings hold."""
        put(asking)
        (request,) = scripted.requests
        unset = ("encryption", "storage-class", "object-lock", "expected-bucket-owner")
        assert [] == [name for name in request.headers if any(word in name for word in unset)]

    def test_object_lock(self, seaweedfs: SeaweedFS, new_store: NewStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """A real server keeps the lock that was asked for."""
        use(monkeypatch, seaweedfs.credentials)
        client = seaweedfs.client()
        bucket = f"locked-{os.urandom(6).hex()}"
        client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        put(new_store(bucket, endpoint_url=seaweedfs.url, object_lock_mode="GOVERNANCE", object_lock_days=1))
        kept = client.head_object(Bucket=bucket, Key=KEY)
        client.close()
        assert "GOVERNANCE" == kept["ObjectLockMode"]
        assert kept["ObjectLockRetainUntilDate"] > datetime.now(UTC)

    def test_attempts(self, scripted: ScriptedS3, new_store: NewStore) -> None:
        """A reader's requests are tried again as often as it was told to."""
        scripted.objects["/logs/a"] = b"whole"
        scripted.say(told.SLOW_DOWN, method="GET")
        with new_store("logs", endpoint_url=scripted.url, total_attempts=2).open("a") as file:
            assert b"whole" == file.read()

    @pytest.mark.parametrize("stored", [BODY, b"other"])
    def test_unconfirmed(self, asking: S3Store, scripted: ScriptedS3, stored: bytes) -> None:
        """Where a server confirms no checksum, the object is read back; another one is `bad_digest`."""
        scripted.echoes = False
        if stored == BODY:
            put(asking)
        else:
            scripted.keeps = stored
            assert "bad_digest" == failure_of_put(asking).reason
        assert ["PUT", "GET"] == scripted.methods()

    def test_checksum_of_parts(self, scripted: ScriptedS3, asking: S3Store) -> None:
        """The checksum of an object in parts, which is none of its bytes, is not taken for one."""
        scripted.objects["/logs/a"] = b"body"
        scripted._headers["/logs/a"] = {"x-amz-checksum-sha256": "AAAA-2", "x-amz-meta-sha256": "not hexadecimal"}
        assert Found("a", 4, None) == asking.find("a")


class TestProcess:
    """Imports, forks and threads."""

    def test_boto3_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without boto3 a store cannot be made, and says how to get it."""
        monkeypatch.setitem(sys.modules, "boto3", None)
        with pytest.raises(MissingExtra) as caught:
            S3Store("logs")
        assert "S3 sink needs boto3: pip install 'structllm-logging[s3]'" == str(caught.value)

    def test_boto3_is_broken(self, new_store: NewStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """A boto3 that cannot be loaded is found at the first request."""
        store = new_store("logs")
        monkeypatch.setitem(sys.modules, "botocore.config", None)
        assert "no_boto3" == failure_of_put(store).reason

    def test_imports(self) -> None:
        """Neither module of the read side loads boto3, nor does making a store."""
        code = (
            "import sys; from structllm.archive.opening import open_store; open_store('s3://logs/team');"
            "print(sorted({'boto3', 'botocore', 'pydantic', 'structlog'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert "[]\n" == done.stdout

    def test_fork(self, bucket: str, seaweedfs: SeaweedFS, new_store: NewStore) -> None:
        """A child that resets its store uses connections of its own, and the parent's go on."""
        store = new_store(bucket, endpoint_url=seaweedfs.url)
        put(store, key="before")
        with store._making:
            child = os.fork()
            if child == 0:
                try:
                    store.reset_after_fork()
                    put(store, key="child")
                    os._exit(0)
                finally:
                    os._exit(1)
        ended: list[tuple[int, int]] = []
        if not comes_true(lambda: ended.append(os.waitpid(child, os.WNOHANG)) or ended[-1][0], 30):
            os.kill(child, signal.SIGKILL)
            ended.append(os.waitpid(child, 0))
        assert (child, 0) == ended[-1]
        put(store, key="after")
        assert ["after", "before", "child"] == [found.key for found in store.under("")]

    def test_threads_share_one_client(self, bucket: str, seaweedfs: SeaweedFS, new_store: NewStore) -> None:
        """Threads that begin at the same moment make one client between them."""
        store = new_store(bucket, endpoint_url=seaweedfs.url)
        clients: list[object] = []
        barrier = threading.Barrier(4)

        def ask() -> None:
            barrier.wait(30)
            clients.append(store._s3())

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert [clients[0]] * 4 == clients

    def test_many_pages(self, bucket: str, seaweedfs: SeaweedFS, new_store: NewStore) -> None:
        """A listing of several pages comes whole, in order, and is asked for page by page."""
        store = new_store(bucket, endpoint_url=seaweedfs.url)
        keys = [f"v1/{number:03d}" for number in range(7)]
        for key in keys:
            put(store, b"", key=key)
        client = store._s3()
        asked: list[str] = []
        client.meta.events.register("before-call.s3.ListObjectsV2", lambda **_: asked.append("page"))
        client.meta.events.register(
            "before-parameter-build.s3.ListObjectsV2", lambda params, **_: params.update(MaxKeys=3)
        )
        listing = store.under("v1/")
        assert keys[0] == next(listing).key
        assert 1 == len(asked)
        assert keys[1:] == [found.key for found in listing]
        assert 3 == len(asked)
