"""Accounts of the fake Cloud Storage, and what Cloud Storage asks of a signed URL (V4): its own rules, written down once more."""

import hashlib
import json
from datetime import UTC, datetime
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

ACCOUNT = "podium@tests"
LONGEST_SECONDS = 7 * 24 * 3600
SKEW_SECONDS = 900


def make_account(fake, folder, token_uri):
    """Makes an account that a fake over a folder knows; the file with its key, in another folder."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    accounts = fake / ".accounts"
    accounts.mkdir(exist_ok=True)
    (accounts / ACCOUNT).write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"type": "service_account", "project_id": "tests", "client_email": ACCOUNT, "token_uri": token_uri}
    path = folder / "account.json"
    path.write_text(json.dumps({**account, "private_key": private}))
    return path


def signature(path, message):
    """That of the account with its key in a file."""
    key = load_pem_private_key(json.loads(path.read_text())["private_key"].encode(), None)
    return key.sign(message, PKCS1v15(), SHA256())


def fault_of(target, host, fake, now):
    """What is wrong with a GET of a signed URL, as status and message; None if nothing is."""
    path, _, query = target.partition("?")
    values = {name: value for name, (value, *_) in parse_qs(query).items()}
    try:
        email, day, *scope = values["X-Goog-Credential"].split("/")
        signed = datetime.strptime(values["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        seconds, signature = int(values["X-Goog-Expires"]), bytes.fromhex(values["X-Goog-Signature"])
        how = values["X-Goog-Algorithm"], values["X-Goog-SignedHeaders"]
    except (KeyError, ValueError):
        return 403, "Anonymous caller does not have storage.objects.get access."
    is_known = how == ("GOOG4-RSA-SHA256", "host") and scope == ["auto", "storage", "goog4_request"]
    if not is_known or not values["X-Goog-Date"].startswith(day) or not 0 < seconds <= LONGEST_SECONDS:
        return 400, "Invalid argument."
    if not -SKEW_SECONDS <= now - signed <= seconds:
        return 400, "ExpiredToken"
    parts = sorted(part for part in query.split("&") if not part.startswith("X-Goog-Signature="))
    request = "\n".join(["GET", path, "&".join(parts), f"host:{host}", "", "host", "UNSIGNED-PAYLOAD"])
    text = "\n".join([how[0], values["X-Goog-Date"], "/".join([day, *scope]), hashlib.sha256(request.encode()).hexdigest()])
    try:
        load_pem_public_key((fake / ".accounts" / email).read_bytes()).verify(signature, text.encode(), PKCS1v15(), SHA256())
    except (FileNotFoundError, InvalidSignature):
        return 403, "SignatureDoesNotMatch"
    return None
