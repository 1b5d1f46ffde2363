"""Who signs URLs in the name of the server's account: its key, or IAM where the account is a machine's and the key is Google's."""

import base64
import logging
from functools import partial
from typing import Any

import requests
from google.auth.credentials import Credentials, Scoped, Signing
from google.auth.crypt import Signer
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession, Request
from google.oauth2 import service_account

from podium_server.blobs.errors import StoreUnavailable
from podium_server.blobs.gcs_calls import TIMEOUT, Calls, checked, failure

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0  # then the files come by way of the server
_SCOPE = "https://www.googleapis.com/auth/iam"
_SIGN = "https://iamcredentials.{}/v1/projects/-/serviceAccounts/{}:signBlob"


def signer_of(credentials: Credentials) -> Signing | None:
    """Who can sign for the account of these credentials; None if nobody can, which is found out by trying."""
    try:
        signer = credentials if isinstance(credentials, Signing) else _signer_without_key(credentials)
        if signer is not None:
            signer.sign_bytes(b"podium")  # type: ignore[no-untyped-call]
    except (StoreUnavailable, GoogleAuthError, requests.RequestException) as error:
        log.info("URLs of blobs cannot be signed: %s", error if isinstance(error, StoreUnavailable) else type(error).__name__)
        return None
    return signer


def _signer_without_key(credentials: Credentials) -> Signing | None:
    """None where the credentials are nobody's, or a person's."""
    if not hasattr(credentials, "service_account_email") or not isinstance(credentials, Scoped):
        return None
    scoped: Any = credentials.with_scopes([_SCOPE])  # type: ignore[no-untyped-call]
    scoped.refresh(Request())  # a machine learns only so what its account is called
    email: str | None = scoped.service_account_email
    if not email:
        return None
    return service_account.Credentials(IamSigner(scoped, email), email, "")  # type: ignore[no-untyped-call]


class IamSigner(Signer):
    """Has IAM sign for an account, by the credentials of that account."""

    key_id = None

    def __init__(self, credentials: Credentials, email: str) -> None:
        self._http = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
        self._uri = _SIGN.format(credentials.universe_domain, email)
        role = f"give {email} the role Service Account Token Creator on itself"
        self._call = Calls("IAM", refused=f"does not sign: {role}", missing=f"knows no {email}")

    def sign(self, message: bytes) -> bytes:
        """The signature; StoreUnavailable."""
        return self._call(partial(self._sign, base64.b64encode(message).decode()), patience=PATIENCE_SECONDS)

    def _sign(self, payload: str) -> bytes:
        response = checked(self._http.post(self._uri, json={"payload": payload}, timeout=TIMEOUT))
        if response.status_code != requests.codes.ok:
            raise failure(response)
        return base64.b64decode(response.json()["signedBlob"])
