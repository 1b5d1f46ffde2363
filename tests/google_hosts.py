"""Google's hosts, through a proxy and over TLS: Cloud Storage is the strict fake, the rest is here.

The rest is what gives tokens, what tells a machine in Google's cloud about its account (by plain HTTP, without the proxy), and IAM,
which signs for that account.
"""

import base64
import json
import ssl
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from gcs_signatures import ACCOUNT, make_account, signature

STORAGE, IAM, TOKENS = "storage.googleapis.com", "iamcredentials.googleapis.com", "oauth2.googleapis.com"
TO_SIGN = "https://www.googleapis.com/auth/iam"
METADATA = {
    "/": {},
    "/computeMetadata/v1/project/project-id": "tests",
    "/computeMetadata/v1/universe/universe-domain": "googleapis.com",
    "/computeMetadata/v1/instance/service-accounts/default/": {"email": ACCOUNT, "scopes": [], "aliases": ["default"]},
    f"/computeMetadata/v1/instance/service-accounts/{ACCOUNT}/": {"email": ACCOUNT, "scopes": [], "aliases": ["default"]},
}


class Google:
    """`tunnels` are the hosts that the proxy was asked for, each with who asked. `signed` counts what IAM signed; first it answers
    with `refusals`, which are statuses. `with_key` and `with_machine` are environments of servers, `client` is that of a client.
    """

    def __init__(self, gcs, folder):
        self.gcs = gcs
        self.key = make_account(gcs.folder, folder, f"https://{TOKENS}/token")
        self.tunnels, self.signed, self.refusals = [], 0, []
        certificate = make_certificate(folder / "google.pem")
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate)
        self._http = Server(("127.0.0.1", 0), partial(Handler, self))
        here = f"127.0.0.1:{self._http.server_address[1]}"
        server = {"HTTPS_PROXY": f"http://{here}", "REQUESTS_CA_BUNDLE": str(certificate)}
        self.with_key = {**server, "GOOGLE_APPLICATION_CREDENTIALS": str(self.key)}
        self.with_machine = {**server, "GCE_METADATA_HOST": here, "GCE_METADATA_IP": here, "CLOUDSDK_CONFIG": str(folder / "none")}
        self.client = {"HTTPS_PROXY": f"http://me:a%21b@{here}", "SSL_CERT_FILE": str(certificate)}
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self._http.shutdown()
        self._http.server_close()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def __init__(self, google, *arguments):
        self.google, self.host = google, None
        super().__init__(*arguments)

    def do_CONNECT(self):
        """Ends the tunnel here: what follows is what the host would be asked."""
        self.lead_to(self.path.removesuffix(":443"))
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        self.wfile.flush()
        try:
            self.request = self.google.tls.wrap_socket(self.request, server_side=True)
        except OSError:  # whoever it is does not trust this certificate
            self.close_connection = True
            return
        self.setup()
        self.close_connection = False

    def finish(self):
        super().finish()
        self.request.close()

    def lead_to(self, host):
        self.host = host
        who = base64.b64decode((self.headers["Proxy-Authorization"] or "").removeprefix("Basic ")).decode()
        del self.headers["Proxy-Authorization"]  # which is for the proxy
        self.google.tunnels.append((host, who))

    def serve(self):
        if self.path.startswith("http://"):  # so a proxy is asked for what goes without TLS
            self.lead_to(STORAGE)
            self.path = self.path.removeprefix(self.google.gcs.address)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.host == STORAGE:
            self.pass_on(body)
        elif self.host == IAM and self.command == "POST":
            self.sign(json.loads(body))
        elif self.host == TOKENS:
            self.answer(200, token_for("any"))
        else:
            path, _, query = self.path.partition("?")
            found = token_for(unquote(query)) if path.endswith("/token") else METADATA.get(path)
            self.answer(404 if found is None else 200, found)

    do_GET = do_POST = do_PUT = do_DELETE = serve  # noqa: N815 - as http.server wants them

    def pass_on(self, body):
        to = HTTPConnection(self.google.gcs.address.removeprefix("http://"))
        to.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            to.putheader(name, value)
        to.endheaders(body)
        response = to.getresponse()
        self.answer(response.status, response.read(), response.headers)
        to.close()

    def sign(self, request):
        assert self.path.startswith(f"/v1/projects/-/serviceAccounts/{ACCOUNT}:signBlob")
        assert TO_SIGN in self.headers["Authorization"], "a token for other things does not do"
        if self.google.refusals:
            self.answer(self.google.refusals.pop(0), {"error": {"message": "as ordered"}})
        else:
            self.google.signed += 1
            signed = signature(self.google.key, base64.b64decode(request["payload"]))
            self.answer(200, {"signedBlob": base64.b64encode(signed).decode()})

    def answer(self, status, body, headers=None):
        """With bytes as they are, with a text, or with JSON."""
        content = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        kind = "application/text" if isinstance(body, str) else "application/json"
        headers = headers or {"Content-Type": kind, "Metadata-Flavor": "Google"}
        for name, value in headers.items():
            if name not in ("Content-Length", "Server", "Date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def token_for(scopes):
    return {"access_token": scopes, "token_type": "Bearer", "expires_in": 3600}


def make_certificate(path):
    """Writes a key and a certificate for Google's hosts, which is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    day = timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    hosts = x509.SubjectAlternativeName([x509.DNSName(host) for host in (STORAGE, IAM, TOKENS)])
    builder = builder.add_extension(hosts, critical=False)
    certificate = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return path
