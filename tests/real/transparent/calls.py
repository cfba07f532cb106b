"""Call: one request as a row of the table describes it, before a client turns it into bytes."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Call:
    """What is asked. Text stands for bytes: each character is one (Latin-1)."""

    # As written after the method; `{u}` is replaced by a number that no other row has.
    target: str
    method: str = "GET"
    # Beside those that a client adds by itself.
    fields: tuple = ()
    body: bytes | None = None
    # Sends the body in chunks, without its length.
    chunked: bool = False
    # Trailer fields of a chunked body.
    trailers: tuple = ()
    # Whether redirects are followed.
    follow: bool = False
    # ("basic" | "digest", user, password): the client answers challenges.
    auth: tuple | None = None
    # The client says which encodings it takes, and decodes.
    decode: bool = False
    # Sends the head, and the body only once a 100 came; a final answer before that ends the call. Of the raw client.
    expect: bool = False
    # The request as bytes, `{host}` and `{u}` replaced; all else but the method is ignored. Of the raw client.
    wire: str | None = None

    def numbered(self, number):
        fields = tuple((name, value.replace("{u}", number)) for name, value in self.fields)
        return dataclasses.replace(self, target=self.target.replace("{u}", number), fields=fields, wire=self.wire and self.wire.replace("{u}", number))


def call(target, *fields, **more):
    return Call(target, fields=tuple(fields), **more)
