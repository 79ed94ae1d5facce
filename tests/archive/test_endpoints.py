"""Where requests may go."""

import pytest

from structllm.archive.endpoints import endpoint_problem, resolved_problem
from structllm.archive.opening import open_store
from structllm.archive.s3 import S3Store
from structllm.archive.store import StoreUnavailable
from structllm.errors import ConfigError
from structllm.sinks.s3 import S3SinkConfig

FINE = [
    "https://s3.example.com",
    "https://s3.example.com:9000/x",
    "http://127.0.0.1:8333",
    "http://127.9.9.9",
    "http://[::1]:9000",
    "http://localhost:9000",
    "http://minio.localhost",
    "https://10.0.0.5:9000",
]
REFUSED = [
    "http://s3.example.com",
    "http://10.0.0.5:9000",
    "http://minio:9000",
    "http://localhost.example.com",
    "https://169.254.169.254",
    "https://169.254.170.2/v2",
    "https://[fe80::1]",
    "https://[::ffff:169.254.169.254]",
    "https://2852039166",
    "https://0xa9fea9fe/",
    "https://0251.0376.0251.0376/",
    "https://[fd00:ec2::254]/",
    "https://METADATA.google.internal./",
    "https://" + "user:zq-planted@s3.example.com",
]


class TestUrls:
    """What the text of a URL tells."""

    @pytest.mark.parametrize("url", FINE)
    def test_fine(self, url: str) -> None:
        """TLS to anywhere, and anything to this machine."""
        assert endpoint_problem(url) is None
        assert url == S3SinkConfig(bucket="b", endpoint_url=url).endpoint_url

    @pytest.mark.parametrize("url", REFUSED)
    def test_refused(self, url: str) -> None:
        """No plain HTTP to another machine, no link-local address in any notation, no metadata service, no password."""
        problem = endpoint_problem(url)
        assert problem is not None
        assert "planted" not in problem
        with pytest.raises(ConfigError) as caught:
            S3SinkConfig(bucket="b", endpoint_url=url)
        assert "planted" not in str(caught.value)
        with pytest.raises(ConfigError):
            open_store(f"s3://b?endpoint_url={url}")

    def test_allowed(self) -> None:
        """Who says that it is meant so gets any endpoint, in settings and in the URL of an archive."""
        url = "http://minio:9000"
        assert url == S3SinkConfig(bucket="b", endpoint_url=url, allow_insecure_endpoint=True).endpoint_url
        assert "s3://b" == open_store(f"s3://b?endpoint_url={url}&allow_insecure_endpoint=true").place
        with pytest.raises(ConfigError, match="must be true or false"):
            open_store(f"s3://b?endpoint_url={url}&allow_insecure_endpoint=yes")


class TestResolution:
    """What a name stands for."""

    @pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1%eth0", "::ffff:169.254.1.1", "fd00:ec2::254"])
    def test_link_local(self, address: str) -> None:
        """A name is refused where any of its addresses is."""
        problem = resolved_problem("https://s3.example.com", lambda host: ["10.0.0.1", address])
        assert problem is not None
        assert "stands for" in problem

    def test_fine(self) -> None:
        """A name of private or public addresses is fine, and so is one that nobody knows."""
        assert resolved_problem("https://s3.example.com", lambda host: ["10.0.0.1", "2001:db8::1"]) is None
        assert resolved_problem("https://s3.example.com", lambda host: []) is None


class TestEffective:
    """The endpoint that boto3 uses, whoever named it."""

    def test_of_a_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A variable that no setting of ours has seen is held to the same rules, before any request."""
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://169.254.169.254")
        store = S3Store("b", region="eu-west-1")
        (problem,) = store.check()
        assert "metadata service" in problem
        with pytest.raises(StoreUnavailable) as caught:
            store.find("x")
        assert "endpoint_refused" == caught.value.reason

    def test_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The host can be asked for, and holds no credentials."""
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://" + "me:zq-planted@127.0.0.1:9")
        store = S3Store("b", region="eu-west-1", allow_insecure_endpoint=True)
        assert "127.0.0.1:9" == store.endpoint
        store.close()


def test_key_implies_its_method() -> None:
    """A kms_key_id is sent with sse=aws:kms, which it would be refused or ignored without."""
    store = S3SinkConfig(bucket="b", kms_key_id="alias/x").open_store()
    assert {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/x"} == vars(store)["_kept"]
