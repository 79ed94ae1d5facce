"""Archives in object storage: Amazon S3 and what speaks its protocol.

Destination: segments below `prefix` in a bucket (`structllm/archive`).
Delivery guarantee, durability, failure modes and units: those of `spooled.py`. An object is written once, on condition
that there is none, and S3 has checked its SHA-256 before anything is deleted here.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from structllm._options import Problem
from structllm.archive.endpoints import INSECURE, endpoint_problem, split
from structllm.archive.store import Store
from structllm.errors import ConfigError
from structllm.sinks.archiving import ArchiveSinkConfig


def _bucket(name: str) -> str:
    if "/" in name or not name.strip():
        raise ConfigError(Problem("must be the name of a bucket alone; what comes behind it is the prefix"))
    return name


def _prefix(text: str) -> str:
    return text.strip("/")


def _url(text: str) -> str:
    parts = split(text)
    if parts is None:
        raise ConfigError(Problem("must begin with http:// or https:// and name a host"))
    if "@" in parts.netloc:
        raise ConfigError(Problem("must hold no credentials; boto3 finds those in the environment or ~/.aws"))
    return text


class S3SinkConfig(ArchiveSinkConfig):
    """Settings of the archive in S3. Credentials are found by boto3 (environment, ~/.aws, roles), never set here."""

    type: Literal["s3"] = "s3"
    bucket: Annotated[str, AfterValidator(_bucket)] = Field(description="The bucket; it has to exist.")
    prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        default="", description="Begins every key, e.g. llm or llm/service=trader."
    )
    region: str | None = Field(default=None, description="Region of the bucket; default: what boto3 finds.")
    endpoint_url: Annotated[str, AfterValidator(_url)] | None = Field(
        default=None, description="Where a store that is not Amazon's listens."
    )
    allow_insecure_endpoint: bool = Field(
        default=False,
        description="Let the endpoint be http:// on another machine, or at a link-local address.",
    )
    profile: str | None = Field(default=None, description="Profile of ~/.aws/config.")
    sse: Literal["AES256", "aws:kms"] | None = Field(default=None, description="Encryption at rest: AES256 or aws:kms.")
    kms_key_id: str | None = Field(
        default=None, description="Key of sse=aws:kms, which it implies; default: that of the account."
    )
    storage_class: str | None = Field(default=None, description="E.g. STANDARD_IA or GLACIER_IR.")
    object_lock_mode: Literal["GOVERNANCE", "COMPLIANCE"] | None = Field(
        default=None, description="Forbid deletion for object_lock_days; the bucket must have Object Lock."
    )
    object_lock_days: int | None = Field(default=None, ge=1, le=36_500, description="For how long.")
    expected_bucket_owner: str | None = Field(
        default=None, description="Account id; uploads to somebody else's bucket of that name are refused."
    )
    conditional_writes: Literal["auto", "never"] = Field(
        default="auto", description="never: for stores that ignore If-None-Match; an object is then looked for first."
    )
    addressing_style: Literal["auto", "path", "virtual"] = Field(
        default="auto", description="Whether the bucket is in the path or the host name."
    )
    connect_timeout_s: float = Field(default=5.0, gt=0, le=60, description="Longest wait for a connection, in seconds.")
    read_timeout_s: float = Field(default=30.0, gt=0, le=600, description="Longest wait for an answer, in seconds.")

    @model_validator(mode="after")
    def _what_belongs_together(self) -> Self:
        if self.kms_key_id is not None and self.sse == "AES256":
            raise ConfigError(Problem("there is a kms_key_id, which only sse=aws:kms uses", ("sse",)))
        if self.endpoint_url is not None and not self.allow_insecure_endpoint:
            problem = endpoint_problem(self.endpoint_url)
            if problem is not None:
                raise ConfigError(Problem(f"{problem}, or set {INSECURE}", ("endpoint_url",)))
        if (self.object_lock_mode is None) != (self.object_lock_days is None):
            raise ConfigError(Problem("object_lock_mode and object_lock_days need each other", ("object_lock_mode",)))
        return self

    @classmethod
    def from_location(cls, host: str, path: str) -> dict[str, str]:
        """Return bucket and prefix of `s3://bucket/prefix`."""
        if not host:
            raise ConfigError(Problem("write 's3://bucket/prefix'"))
        prefix = path.strip("/")
        return {"bucket": host, "prefix": prefix} if prefix else {"bucket": host}

    @property
    def place(self) -> str:
        """What tells this archive from others."""
        return f"s3:{self.endpoint_url or ''}/{self.bucket}/{self.prefix}"

    def open_store(self) -> Store:
        """Return the bucket as a store; raise MissingExtra where boto3 is missing."""
        from structllm.archive.s3 import S3Store

        return S3Store(
            self.bucket,
            self.prefix,
            region=self.region,
            endpoint_url=self.endpoint_url,
            allow_insecure_endpoint=self.allow_insecure_endpoint,
            profile=self.profile,
            # A key without the method is refused by Amazon, and would be ignored by others.
            sse=self.sse if self.kms_key_id is None else "aws:kms",
            kms_key_id=self.kms_key_id,
            storage_class=self.storage_class,
            object_lock_mode=self.object_lock_mode,
            object_lock_days=self.object_lock_days,
            expected_bucket_owner=self.expected_bucket_owner,
            conditional_writes=self.conditional_writes,
            addressing_style=self.addressing_style,
            connect_timeout_s=self.connect_timeout_s,
            read_timeout_s=self.read_timeout_s,
        )
