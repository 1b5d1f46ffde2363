"""One file from the server, or the bucket, into a partial file: it goes on after a cut, and is verified as a whole."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from podium.direct import Direct
from podium.errors import DamagedFile, HostileServer
from podium.frames import read_download
from podium.progress import Meter
from podium.sink import Sink
from podium.transfers import Crew, Patience
from podium.transport import Transport
from podium.v1.artifacts_pb2 import DownloadArtifactHeader, DownloadArtifactRequest
from podium.v1.versions_pb2 import File


@dataclass(frozen=True)
class Download:
    """Fetches files of the version that the pinned `reference` means, what `direct` can have from there."""

    transport: Transport
    crew: Crew
    meter: Meter
    reference: str
    direct: Direct | None

    def fetch(self, file: File, partial: Path) -> None:
        """Completes the partial file; removes it if its bytes are not those of the digest."""
        try:
            with Sink(partial, file.size_bytes) as sink:
                self._fetch_into(file, sink)
        except (DamagedFile, HostileServer):
            partial.unlink()
            raise

    def _fetch_into(self, file: File, sink: Sink) -> None:
        self.meter.add(sink.size)
        if self.direct:
            self.direct.receive(file, sink, self.meter)
        unchecked = sink.size
        self._receive(file, sink)
        if unchecked and _digest(sink) != file.digest:
            # What an earlier process left need not be what it received, after a power cut for example; and nobody but this client
            # has looked at what came from the bucket. The server looks at what it sends.
            if self.direct:
                self.direct.leave(f"what is there of {file.path!r} are not the bytes of {file.digest}")
            sink.restart()
            self.meter.expect(file.size_bytes)
            self._receive(file, sink)
        if (actual := _digest(sink)) != file.digest:
            raise DamagedFile(f"{file.path} of {self.reference} arrived as {actual}, not as {file.digest}")

    def _receive(self, file: File, sink: Sink) -> None:
        """Fetches what is missing, in as many streams as it takes."""
        patience = Patience(self.transport.timeout)
        for attempt in self.crew.attempts(patience):
            with attempt:
                if sink.size == file.size_bytes:
                    return
                with closing(self._stream(file, sink.size)) as chunks:
                    for chunk in chunks:
                        sink.write(chunk)
                        self.meter.add(len(chunk))
                        patience.moved()

    def _stream(self, file: File, offset: int) -> Generator[memoryview]:
        """The chunks of one stream from an offset to the end of the file, never more."""
        request = DownloadArtifactRequest(reference=self.reference, path=file.path, offset=offset)
        with closing(self.transport.download(request, self.crew)) as messages:
            header = read_download(next(messages, b""))
            if not isinstance(header, DownloadArtifactHeader):
                raise self._hostile(file, "does not begin with a header")
            if (header.digest, header.size_bytes) != (file.digest, file.size_bytes):
                raise self._hostile(file, f"is {header.size_bytes} bytes of {header.digest}")
            for message in messages:
                chunk = read_download(message)
                if isinstance(chunk, DownloadArtifactHeader) or not chunk:
                    raise self._hostile(file, "has a message without bytes")
                offset += len(chunk)
                if offset > file.size_bytes:
                    raise self._hostile(file, "has more bytes than it said")
                yield chunk
        if offset < file.size_bytes:
            raise self._hostile(file, f"ended after {offset} of {file.size_bytes} bytes")

    def _hostile(self, file: File, what: str) -> HostileServer:
        return HostileServer(f"the server's download of {file.path} of {self.reference} {what}")


def _digest(sink: Sink) -> str:
    return f"sha256:{sink.hexdigest()}"
