"""`trafficPolicy.tls`: whether, and how, callers secure their connections to a service."""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from ..policy.tls import TlsPolicy
from .fields import Base
from .words import HostName, Name

PATH_MAX: Final = 1024
NAMES_MAX: Final = 256


def _path(value: str) -> str:
    if not value.startswith("/") or not value.isprintable():
        raise ValueError(f"{value[:60]!r} is no path that every sidecar understands: begin it with a slash")
    return value


Path = Annotated[str, Field(max_length=PATH_MAX), AfterValidator(_path)]


class ClientTLS(Base):
    """Files are those of the sidecars' machines; they are read again when they change.

    DISABLE is plain. ISTIO_MUTUAL would be the mesh's own identity, which it has not: plain too (a warning
    says so).
    """

    not_honoured: ClassVar[dict[str, str]] = {"credentialName": "there are no secrets here; name files"}
    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]
    clientCertificate: Path | None = None
    privateKey: Path | None = None
    caCertificates: Path | None = None
    caCrl: Path | None = None
    subjectAltNames: list[Name] = Field(default_factory=list, max_length=NAMES_MAX)
    sni: HostName | None = None
    insecureSkipVerify: bool = False

    @model_validator(mode="after")
    def _own_certificate(self) -> "ClientTLS":
        given = (self.clientCertificate, self.privateKey)
        if self.mode == "MUTUAL" and None in given:
            raise ValueError("mode MUTUAL needs clientCertificate and privateKey")
        if self.mode != "MUTUAL" and given != (None, None):
            raise ValueError(f"clientCertificate and privateKey go with mode MUTUAL, not {self.mode}")
        return self

    @model_validator(mode="after")
    def _trust(self) -> "ClientTLS":
        if self.insecureSkipVerify and (self.caCertificates or self.caCrl or self.subjectAltNames):
            raise ValueError(
                "insecureSkipVerify looks at nothing: leave out caCertificates, caCrl and subjectAltNames"
            )
        if self.sni is not None and "*" in self.sni:
            raise ValueError("sni: is one name, not a pattern")
        return self


def compile_tls(block: ClientTLS) -> TlsPolicy | None:
    """None = plain."""
    if block.mode in ("DISABLE", "ISTIO_MUTUAL"):
        return None
    return TlsPolicy(
        ca=block.caCertificates or "",
        certificate=block.clientCertificate or "",
        private_key=block.privateKey or "",
        crl=block.caCrl or "",
        server_name=block.sni or "",
        names=tuple(block.subjectAltNames),
        verify=not block.insecureSkipVerify,
    )
