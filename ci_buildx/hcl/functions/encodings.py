"""Hashes, encodings and identifiers (go-cty-funcs, go-cty 1.17.0 ``stdlib/csv.go`` and ``json.go``)."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable, Sequence

from ci_buildx.hcl.functions.signature import CallError, HclFunction, Parameter, ParameterError
from ci_buildx.hcl.functions.text import make_text_function
from ci_buildx.hcl.types.json_values import decode_json, encode_json
from ci_buildx.hcl.types.unification import ConversionError
from ci_buildx.hcl.types.values import (
    BYTES,
    NUMBER,
    STRING,
    HclValue,
    make_integer,
    make_list,
    make_object,
    make_object_type,
    make_string,
)

_NAMESPACES = {
    "dns": uuid.NAMESPACE_DNS,
    "url": uuid.NAMESPACE_URL,
    "oid": uuid.NAMESPACE_OID,
    "x500": uuid.NAMESPACE_X500,
}


def _make_hash(make: Callable[..., hashlib._Hash]) -> HclFunction:
    return make_text_function(("str",), lambda text: make(text.encode(), usedforsecurity=False).hexdigest())


def _decode_base64(text: str) -> str:
    try:
        raw = base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True)
    except ValueError:
        raise CallError(f"failed to decode base64 data '{text}'") from None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise CallError("the result of decoding the provided string is not valid UTF-8") from None


def _quote_url(text: str) -> str:
    from urllib.parse import quote_plus

    return quote_plus(text, safe="-_.~")


def _decode_csv(given: Sequence[HclValue]) -> HclValue:
    import csv
    import io

    try:
        rows = [row for row in csv.reader(io.StringIO(given[0].text), strict=True) if row]
    except csv.Error as error:
        raise CallError(f"CSV parse error: {error}") from None
    if not rows:
        raise CallError("missing header line")
    header, *lines = rows
    for name in header:
        if header.count(name) > 1:
            raise CallError(f'duplicate column name "{name}"')
    for at, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise CallError(f"CSV parse error on line {at}: wrong number of fields")
    objects = (make_object({name: make_string(one) for name, one in zip(header, line, strict=True)}) for line in lines)
    return make_list(objects, make_object_type(dict.fromkeys(header, STRING)))


def _decode_json(given: Sequence[HclValue]) -> HclValue:
    try:
        return decode_json(given[0].text)
    except ConversionError as error:
        raise CallError(str(error)) from None


def _make_uuid(namespace: str, name: str) -> str:
    if namespace not in _NAMESPACES:
        try:
            return str(uuid.uuid5(uuid.UUID(namespace), name))
        except ValueError:
            raise CallError(f"uuidv5() doesn't support namespace {namespace}") from None
    return str(uuid.uuid5(_NAMESPACES[namespace], name))


def _decrypt(text: str, key: str) -> str:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        loaded = load_pem_private_key(key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ParameterError(1, "failed to parse key: it must be an RSA key without a password, as PEM") from None
    if not isinstance(loaded, rsa.RSAPrivateKey):
        raise ParameterError(1, "failed to parse key: not an RSA key")
    try:
        return loaded.decrypt(base64.b64decode(text, validate=True), padding.PKCS1v15()).decode(errors="replace")
    except ValueError:
        raise ParameterError(0, "failed to decrypt the text, which must be base64-encoded") from None


def _refuse_hash(_: Sequence[HclValue]) -> HclValue:
    raise CallError("bcrypt is not supported by kube-builder: compute the hash outside of the definition")


def _count_bytes(given: Sequence[HclValue]) -> HclValue:
    return make_integer(len(given[0].raw))


FUNCTIONS = {
    "base64decode": make_text_function(("str",), _decode_base64),
    "base64encode": make_text_function(("str",), lambda text: base64.b64encode(text.encode()).decode()),
    "bcrypt": HclFunction((Parameter("str", STRING),), _refuse_hash, Parameter("cost", NUMBER)),
    "byteslen": HclFunction((Parameter("buf", BYTES),), _count_bytes),
    "bytesslice": HclFunction(
        (Parameter("buf", BYTES), Parameter("offset", NUMBER), Parameter("length", NUMBER)), _count_bytes
    ),
    "csvdecode": HclFunction((Parameter("str", STRING),), _decode_csv),
    "jsondecode": HclFunction((Parameter("str", STRING),), _decode_json),
    "jsonencode": HclFunction((Parameter("val", nullable=True),), lambda given: make_string(encode_json(given[0]))),
    "md5": _make_hash(hashlib.md5),
    "rsadecrypt": make_text_function(("ciphertext", "privatekey"), _decrypt),
    "sha1": _make_hash(hashlib.sha1),
    "sha256": _make_hash(hashlib.sha256),
    "sha512": _make_hash(hashlib.sha512),
    "urlencode": make_text_function(("str",), _quote_url),
    "uuidv4": HclFunction((), lambda _: make_string(str(uuid.uuid4()))),
    "uuidv5": make_text_function(("namespace", "name"), _make_uuid),
}
