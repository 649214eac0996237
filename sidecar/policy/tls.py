"""How connections to one upstream are secured; what `trafficPolicy.tls` compiles to. Names of files only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """TLS of our own making. Paths are '' where there is none; `ca` '' = the system's authorities.

    `server_name`: SNI, and what the certificate must be for, unless `names` has what it must be for instead.
    """

    ca: str = ""
    certificate: str = ""  # ours, with its key: mode MUTUAL
    private_key: str = ""
    crl: str = ""
    server_name: str = ""
    names: tuple[str, ...] = ()
    verify: bool = True
