"""What an S3 server or its client answers when something fails, in the words of a store: one reason, one sentence.

No text of the server or of botocore is repeated, since it may quote keys; only the server's short code is.
"""

import re
from collections.abc import Mapping
from typing import Any, cast

from structllm.archive.store import ObjectExists, StoreError, StoreRefused, StoreUnavailable

CREDENTIAL_REASONS = frozenset({"access_denied", "bad_credentials", "expired_credentials", "no_credentials"})
"""After these a client is made anew: it would go on with the credentials that it once found."""

_CODES: Mapping[str, tuple[str, ...]] = {
    "access_denied": ("AccessDenied", "AccountProblem", "AllAccessDisabled", "InvalidObjectState", "NotSignedUp"),
    "bad_credentials": ("InvalidAccessKeyId", "InvalidSecurity", "InvalidToken", "SignatureDoesNotMatch"),
    "bad_digest": (
        "BadDigest",
        "InvalidDigest",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    ),
    "clock_skew": ("RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"),
    "conflict": ("ConditionalRequestConflict", "OperationAborted"),
    "connection": ("IncompleteBody",),
    "exists": ("PreconditionFailed",),
    "expired_credentials": ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"),
    "key_refused": ("KeyTooLongError", "MetadataTooLarge"),
    "kms": ("KMS.DisabledException", "KMS.InvalidStateException", "KMS.KMSInvalidStateException"),
    "no_such_bucket": ("NoSuchBucket",),
    "not_found": ("NoSuchKey",),
    "store_full": ("InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"),
    "throttled": ("BandwidthLimitExceeded", "RequestLimitExceeded", "SlowDown", "Throttling", "TooManyRequests"),
    "timeout": ("RequestTimeout",),
    "too_large": ("EntityTooLarge", "MaxMessageLengthExceeded"),
    "unsupported": ("MethodNotAllowed", "NotImplemented"),
    "wrong_region": (
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "PermanentRedirect",
        "TemporaryRedirect",
    ),
}
_REASON_OF_CODE = {code: reason for reason, codes in _CODES.items() for code in codes}

_REASON_OF_STATUS = {
    301: "wrong_region",
    307: "wrong_region",
    401: "bad_credentials",
    403: "access_denied",
    404: "no_such_bucket",
    408: "timeout",
    409: "conflict",
    412: "exists",
    413: "too_large",
    429: "throttled",
    501: "unsupported",
    507: "store_full",
}

# Names of botocore's classes, so that nothing of botocore is imported to look at an error.
_REASON_OF_CLASS = {
    "ChecksumError": "bad_digest",
    "ConnectionError": "connection",
    "CredentialRetrievalError": "no_credentials",
    "FlexibleChecksumError": "bad_digest",
    "HTTPClientError": "connection",
    "IncompleteReadError": "connection",
    "NoCredentialsError": "no_credentials",
    "NoRegionError": "no_region",
    "ParamValidationError": "bad_request",
    "PartialCredentialsError": "no_credentials",
    "ProfileNotFound": "no_such_profile",
    "SSLError": "tls",
    "SSOError": "no_credentials",
    "ConnectTimeoutError": "timeout",
    "ReadTimeoutError": "timeout",
    "TokenRetrievalError": "no_credentials",
}

REFUSED = frozenset({"bad_digest", "key_refused", "too_large"})
"""Reasons that lie with the object itself."""

_SENTENCES: Mapping[str, str] = {
    "access_denied": "{place} refuses access; give the role s3:PutObject (and s3:GetObject, s3:ListBucket for reading)"
    " on it, and check 'expected_bucket_owner' and the rights on the KMS key where they are set",
    "bad_credentials": "{place} does not accept the credentials; check the access key, the secret key and the profile",
    "bad_digest": "what arrived at {place} was not what was sent; if it happens again, look for a proxy in between",
    "bad_request": "{place} did not understand the request; check the bucket's name, the storage class, encryption and"
    " Object Lock settings against what the server supports",
    "clock_skew": "{place} says that the clock of this machine is wrong; set it (NTP)",
    "client": "the S3 client could not send the request to {place}; check 'endpoint_url' and the AWS settings here",
    "conflict": "{place} was busy with another request for the same object; it is tried again",
    "connection": "no connection to {place}; check the network, 'endpoint_url' and 'region'",
    "expired_credentials": "the credentials for {place} have expired; renew them",
    "key_refused": "{place} does not take the name or the metadata of the object; make the prefix shorter",
    "kms": "the KMS key of {place} cannot be used now; enable it or name another one in 'kms_key_id'",
    "no_credentials": "no AWS credentials were found for {place}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a"
    " profile, or a role of the machine",
    "no_region": "no region is set for {place}; set 'region' or AWS_REGION",
    "no_such_bucket": "there is no bucket for {place}; make it, or correct 'bucket', 'region' and 'endpoint_url'",
    "no_such_profile": "the AWS profile for {place} does not exist; correct 'profile' or AWS_PROFILE",
    "not_found": "the object is not in {place}",
    "server_error": "{place} has a fault of its own; it is tried again",
    "store_full": "{place} has no space or quota left; make room there",
    "throttled": "{place} gets too many requests at present; it is tried again",
    "timeout": "{place} did not answer in time; check the network, or raise 'read_timeout_s'",
    "tls": "no secure connection to {place}; check the certificates (AWS_CA_BUNDLE) and the clock",
    "too_large": "{place} does not take objects of this size; make 'segment_max_bytes' smaller",
    "unsupported": "{place} cannot do what is asked of it; check the encryption, Object Lock and storage class",
    "wrong_region": "the bucket of {place} is in another region{region}; correct 'region'",
}


def error_code(error: Exception) -> str:
    """Return the server's code of an error, e.g. `NoSuchKey`; empty where no server answered."""
    return str(_answer(error).get("Error", {}).get("Code", ""))


def status_code(error: Exception) -> int:
    """Return the HTTP status of an error; 0 where no server answered."""
    status = _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status if type(status) is int else 0


def store_error(error: Exception, place: str, key: str = "") -> StoreError:
    """Return what a store raises for an error of boto3.

    Args:
        error: What boto3, botocore or the network raised.
        place: Where the archive is, for people.
        key: Of the object that it was about.
    """
    reason = reason_of(error)
    if reason == "exists":
        return ObjectExists(key)
    answered = _short(error_code(error)) or str(status_code(error) or type(error).__name__)
    text = f"{_SENTENCES[reason].format(place=place, region=_region_of(error))} ({answered})"
    return StoreRefused(reason, text) if reason in REFUSED else StoreUnavailable(reason, text)


def reason_of(error: Exception) -> str:
    """Return the one word for an error."""
    code, status = error_code(error), status_code(error)
    if known := _REASON_OF_CODE.get(code):
        return known
    if code.startswith("KMS."):
        return "kms"
    if status:
        return _REASON_OF_STATUS.get(status) or ("server_error" if status >= 500 else "bad_request")
    for kind in type(error).__mro__:
        if known := _REASON_OF_CLASS.get(kind.__name__):
            return known
    return "connection" if isinstance(error, OSError) else "client"


def _answer(error: Exception) -> Mapping[str, Any]:
    answer: object = getattr(error, "response", None)
    return cast("Mapping[str, Any]", answer) if isinstance(answer, Mapping) else {}


def _short(code: str) -> str:
    return code if re.fullmatch(r"[A-Za-z0-9.]{1,60}", code) else ""


def _region_of(error: Exception) -> str:
    region = _answer(error).get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region", "")
    return f", {region}" if isinstance(region, str) and re.fullmatch(r"[a-z0-9-]{1,40}", region) else ""
