"""A VirtualService's `directResponse`: an answer without any service, as text or as bytes."""

import base64
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from .fields import Base

Binary = bytes  # in a class with a field of that name
BODY_MAX: Final = 1024 * 1024
"""As in Istio."""

Status = Annotated[int, Field(ge=200, le=599)]


def _decode(value: object) -> object:
    """Base64 as JSON has bytes: of either alphabet, with or without the padding."""
    if not isinstance(value, str):
        raise ValueError("must be base64 in quotes")
    text = value.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise ValueError("is no base64") from None


Base64 = Annotated[
    bytes,
    BeforeValidator(_decode),
    PlainSerializer(lambda value: base64.b64encode(value).decode(), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
    Field(max_length=BODY_MAX),
]


class ResponseBody(Base):
    """What a direct response says: `string`, or `bytes` in base64."""

    string: str | None = Field(default=None, max_length=BODY_MAX)
    bytes: Base64 | None = None

    @model_validator(mode="after")
    def _one(self) -> "ResponseBody":
        if self.string is not None and self.bytes is not None:
            raise ValueError("give string or bytes, not both")
        return self

    def content(self) -> Binary:
        """As it goes out."""
        return (self.string or "").encode() if self.bytes is None else self.bytes


class HTTPDirectResponse(Base):
    """An answer without any service."""

    status: Status
    body: ResponseBody = ResponseBody()
