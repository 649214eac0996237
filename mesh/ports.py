"""Every port of the mesh, reserved before anything starts and kept for as long as the mesh runs.

A reservation is a socket that is bound and never listens. On Linux a program that sets SO_REUSEADDR, as
asyncio, uvloop, libuv (Node), Go, Java and Python's http.server do, can bind and listen on such a port
beside it, while the kernel gives the port to nobody who asks for any free one, and refuses connections
until somebody listens. So an instance that was killed comes back on its own ports. Elsewhere two sockets
cannot share a port in this way: there the reservation is given up just before the program starts.
"""

import errno
import resource
import socket
import sys

from mesh.errors import UsageError

LOOPBACK = "127.0.0.1"

# A listener on this machine answers a connect in well under a millisecond.
PROBE_TIMEOUT_S = 0.5


# Beside ports: connections of the control API, polls, logs, the channel.
SPARE_DESCRIPTORS = 256
PORTS_PER_INSTANCE = 4


def allow_descriptors(instances: int) -> None:
    """Raise the soft limit on open files as far as the reservations of so many instances need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = instances * PORTS_PER_INSTANCE + SPARE_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or wanted <= soft:
        return
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise UsageError(f"{instances} instances need {wanted} open files, the limit is {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class PortInUse(UsageError):
    """Somebody else listens on a port that was asked for by number."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} is in use by another program")
        self.port = port


class Ports:
    """Reserves ports on one address; `close` gives all of them back."""

    def __init__(self, host: str = LOOPBACK, *, hold: bool = sys.platform == "linux") -> None:
        self.host = host
        self._hold = hold
        self._sockets: dict[int, socket.socket] = {}

    def free(self) -> int:
        """Any free port."""
        return self._reserve(0)

    def fixed(self, port: int) -> int:
        """This very port; 0 means any. Raises PortInUse."""
        if port in self._sockets:
            raise PortInUse(port)
        try:
            return self._reserve(port)
        except OSError as error:
            if error.errno == errno.EACCES:
                raise UsageError(f"port {port} needs root; choose one above 1023") from error
            if error.errno != errno.EADDRINUSE:
                raise UsageError(f"port {port} cannot be used: {error.strerror}") from error
            raise PortInUse(port) from error

    def preferred(self, port: int) -> int:
        """This port if nobody has it, else any free one."""
        try:
            return self.fixed(port)
        except PortInUse:
            return self.free()

    def hand_over(self, port: int) -> None:
        """To be called just before the program that listens on the port starts."""
        if not self._hold:
            held = self._sockets.get(port)
            if held is not None:
                held.close()

    def release(self, port: int) -> None:
        """Give one port back; whoever listened on it has ended."""
        held = self._sockets.pop(port, None)
        if held is not None:
            held.close()

    def close(self) -> None:
        """Give every port back."""
        for held in self._sockets.values():
            held.close()
        self._sockets.clear()

    def _reserve(self, port: int) -> int:
        if port and not self._hold and self._answers(port):
            # BSD lets 127.0.0.1 be bound beside somebody's listener on all addresses
            raise OSError(errno.EADDRINUSE, "in use")
        held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            # also lets the port be taken while connections of the last mesh are in TIME_WAIT
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((self.host, port))
        except OSError:
            held.close()
            raise
        number = int(held.getsockname()[1])
        self._sockets[number] = held
        return number

    def _answers(self, port: int) -> bool:
        try:
            socket.create_connection((self.host, port), PROBE_TIMEOUT_S).close()
        except OSError:
            return False
        return True
