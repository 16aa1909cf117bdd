"""The generated parts of `protocol/README.md`: types, fields, limits and test vectors.

`python -m tests.protocol.reference` updates the file; a test fails when that is necessary.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import msgspec
from msgspec import inspect, structs

from protocol import limits, messages
from protocol.blobs import BlobHeader, BlobKind, pack_blob
from protocol.codec import encode_body
from protocol.envelope import Header, Kind, Lane, pack_header
from protocol.identity import digest_of, run_bytes, trajectory_id
from protocol.messages import (
    EVENTS,
    LINK_BODIES,
    RECORDS,
    REPLIES,
    REQUESTS,
    Body,
    Cancel,
    Capacity,
    Failure,
    Goodbye,
    Heartbeat,
    Held,
    Hello,
    HelloAgain,
    ImageDrawn,
    ImageRef,
    Plan,
    PlanPrompt,
    Pulse,
    Subscribe,
    Value,
    Welcome,
    values,
)

README = Path(limits.__file__).with_name("README.md")

_ID, _OTHER_ID = bytes(range(16)), bytes(range(16, 32))
_EPOCH = "5b1f9a3c0d2e4f60"
_RUN, _TRAJECTORY = run_bytes("night"), bytes.fromhex(trajectory_id("night", 3, 1))
_IMAGE = ImageRef(
    digest="sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    media_type="image/png",
    bytes=48211,
    width_px=768,
    height_px=768,
)
_ASKED = Header(
    Kind.REQUEST,
    id=_ID,
    role="planner",
    time_left_ms=30_000,
    trajectory=_TRAJECTORY,
    run=_RUN,
    trace=bytes.fromhex("0af7651916cd43dd8448eb211c80319c"),
    span=bytes.fromhex("b7ad6b7169203331"),
)
_GIVEN = structs.replace(_ASKED, attempt=1, time_left_ms=29_995)

VECTORS: tuple[tuple[str, Header, Body], ...] = (
    (
        "A worker introduces itself",
        Header(Kind.HELLO, role="planner"),
        Hello(name="planner-1", accepts=("PlanPrompt",), capacity=4, host="box", pid=41, version="0.1.0"),
    ),
    ("The router admits it", Header(Kind.WELCOME), Welcome(epoch=_EPOCH, heartbeat_s=1.0)),
    (
        "A worker's heartbeat: it holds one request and waits for another",
        Header(Kind.HEARTBEAT, role="planner"),
        Heartbeat(holding=(Held(id=_ID, attempt=1),), awaiting=(_OTHER_ID,), figures={"queue": 0.5}),
    ),
    ("The router does not know the other request", Header(Kind.PULSE), Pulse(epoch=_EPOCH, unknown=(_OTHER_ID,))),
    ("A worker begins a graceful shutdown", Header(Kind.CAPACITY, role="planner"), Capacity(capacity=0)),
    ("It leaves", Header(Kind.GOODBYE, role="planner"), Goodbye()),
    ("A client sends a request", _ASKED, PlanPrompt(prompt="a red fox, ein Fuchs, キツネ")),
    ("The router hands the request out", _GIVEN, PlanPrompt(prompt="a red fox, ein Fuchs, キツネ")),
    ("The worker answers", structs.replace(_GIVEN, kind=Kind.REPLY), Plan(prompt="a red fox in the snow", skill=None)),
    (
        "Or the worker fails",
        structs.replace(_GIVEN, kind=Kind.FAILURE),
        Failure(code="backend", message="chat server: no answer", retryable=True),
    ),
    ("A client asks for a graceful stop", Header(Kind.CANCEL, id=_ID, role="planner"), Cancel(graceful=True)),
    (
        "A worker publishes that a picture was drawn, in the bulk lane",
        structs.replace(_GIVEN, kind=Kind.EVENT, role="conductor", lane=Lane.BULK),
        ImageDrawn(round=1, candidate=1, image=_IMAGE),
    ),
    ("A client follows the events of a run", Header(Kind.SUBSCRIBE, run=_RUN), Subscribe()),
    ("The router does not know the sender", Header(Kind.HELLO_AGAIN), HelloAgain(epoch=_EPOCH)),
)

_BYTES = b"picture"
_HAS = BlobHeader(BlobKind.HAS, 7, len(_BYTES), bytes.fromhex(digest_of(_BYTES).removeprefix("sha256:")))
BLOB_VECTORS: tuple[tuple[str, BlobHeader, bytes], ...] = (
    ("A client asks whether a picture is there", _HAS, b""),
    ("A client sends a picture", _HAS._replace(kind=BlobKind.PUT), _BYTES),
    ("The server cannot keep it", _HAS._replace(kind=BlobKind.FAILED), b"no space left: 0 bytes"),
)


def generated_parts() -> dict[str, str]:
    """Return the generated parts of the README by the names in their markers."""
    structs = [kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, Value)]
    return {
        "limits": "\n".join(_limits()),
        "kinds": "\n".join(_kinds()),
        "blobs": "\n".join(_blob_vectors()),
        "roles": "\n".join(_roles()),
        "link": "\n".join(_types(LINK_BODIES)),
        "requests": "\n".join(_types((*REQUESTS, *REPLIES))),
        "events": "\n".join(_types((*EVENTS, *RECORDS))),
        "values": "\n".join(_types(tuple(kind for kind in structs if kind is not Value))),
        "vectors": "\n".join(_vectors()),
    }


def with_parts(text: str) -> str:
    """Return a README with its generated parts updated."""
    for name, part in generated_parts().items():
        between = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        text, count = between.subn(lambda match, part=part: f"{match[1]}{part}\n{match[2]}", text)  # type: ignore[misc]
        assert count == 1, f"expected one part {name}, got {count}"
    return text


def _blob_vectors() -> Iterator[str]:
    for title, header, data in BLOB_VECTORS:
        yield f"**{title}** (`{header.kind.name}`)\n"
        yield "```text"
        yield from _wrapped(pack_blob(header, data))
        yield "```\n"


def _limits() -> Iterator[str]:
    yield "| Limit | | |\n| --- | --- | --- |"
    documented = _field_docs(ast.parse(Path(limits.__file__).read_text(encoding="utf-8")))
    for name, value in vars(limits).items():
        if name.startswith("MAX_"):
            yield f"| `{name}` | {value:,} | {documented.get(name, '')} |"


def _kinds() -> Iterator[str]:
    yield "| Kind of field | Bounds | |\n| --- | --- | --- |"
    documented = _field_docs(ast.parse(Path(values.__file__).read_text(encoding="utf-8")))
    for name, kind in vars(values).items():
        if get_origin(kind) is Annotated:
            bounds = _describe(inspect.type_info(kind)).replace("|", "\\|")
            yield f"| `{name}` | {bounds} | {documented.get(name, '')} |"


def _roles() -> Iterator[str]:
    yield "| Role | Request | Reply |\n| --- | --- | --- |"
    for request in REQUESTS:
        (reply,) = get_args(request.__orig_bases__[0])  # type: ignore[attr-defined]
        yield f"| `{request.role}` | `{request.__name__}` | `{reply.__name__}` |"


def _types(kinds: tuple[type[Any], ...]) -> Iterator[str]:
    chapters = Path(messages.__file__).parent.glob("*.py")
    nodes = [node for path in chapters for node in ast.parse(path.read_text(encoding="utf-8")).body]
    classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    for kind in kinds:
        described = inspect.type_info(kind)
        assert isinstance(described, inspect.StructType)
        bases = [classes[base.__name__] for base in reversed(kind.__mro__) if base.__name__ in classes]
        documented = {name: text for base in bases for name, text in _field_docs(base).items()}
        summary = " ".join((ast.get_docstring(classes[kind.__name__]) or "").split())
        yield f"**`{kind.__name__}`** {summary}" + ("\n" if described.fields else "")
        for field in described.fields:
            optional = "" if field.required else f", else {_default(field)}"
            text = documented.get(field.name, "")
            yield f"- `{field.encode_name}`: {_describe(field.type)}{optional}{'. ' if text else ''}{text}"
        yield ""


def _field_docs(node: ast.ClassDef | ast.Module) -> dict[str, str]:
    """Return the docstring of each field."""
    found = {}
    for field, text in zip(node.body, node.body[1:], strict=False):
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
            target = field.target if isinstance(field, ast.AnnAssign) else None
            if isinstance(field, ast.Assign):
                (target,) = field.targets  # type: ignore[assignment]
            if isinstance(target, ast.Name):
                found[target.id] = " ".join(text.value.value.split())
    return found


def _default(field: inspect.Field) -> str:
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(value, msgspec.Struct):
        return "all of its defaults"
    return "nil" if value is None else f"`{json.dumps(value)}`"


def _describe(kind: inspect.Type) -> str:
    match kind:
        case inspect.NoneType():
            return "nil"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"whole number{_range(kind)}"
        case inspect.FloatType():
            return f"number{_range(kind)}"
        case inspect.StrType(pattern=str(pattern)):
            return f"text that is `{pattern.removeprefix('^').removesuffix(chr(92) + 'Z')}`"
        case inspect.StrType():
            return f"text{_length(kind.min_length, kind.max_length, 'characters')}"
        case inspect.BytesType():
            return f"{kind.min_length} bytes"
        case inspect.LiteralType(values=values):
            return " or ".join(f"`{value}`" for value in values)
        case inspect.VarTupleType(item_type=item):
            return f"array{_length(None, kind.max_length, 'of')} [{_describe(item)}]".replace(" of [", " [")
        case inspect.DictType(key_type=key, value_type=value):
            size = _length(None, kind.max_length, "entries")
            return f"map{size} from {_describe(key)} to {_describe(value)}"
        case inspect.UnionType(types=options):
            structs = [option.cls.__name__ for option in options if isinstance(option, inspect.StructType)]
            return "any record" if len(structs) == len(RECORDS) else " or ".join(map(_describe, options))
        case inspect.StructType(cls=cls):
            return f"`{cls.__name__}`"
        case _:
            raise TypeError(f"expected a type that messages have so far, got {kind}")


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    least = f" above {kind.gt:g}," if kind.gt is not None else ""
    if kind.ge is not None and kind.le is not None:
        return f" {kind.ge:,.0f} to {kind.le:,.0f}"
    if kind.gt is not None and kind.le is not None:
        return f" above {kind.gt:g}, at most {kind.le:,.0f}"
    if kind.ge is not None:
        return f" of at least {kind.ge:g}"
    return f"{least} at most {kind.le:,.0f}" if kind.le is not None else ""


def _length(shortest: int | None, longest: int | None, unit: str) -> str:
    if longest is None:
        return ""
    return f" of {shortest:,} to {longest:,} {unit}" if shortest else f" of at most {longest:,} {unit}"


def _vectors() -> Iterator[str]:
    for title, header, body in VECTORS:
        plain = msgspec.to_builtins(body, builtin_types=(bytes,))
        yield f"**{title}** (`{header.kind.name}`)\n"
        yield "```text"
        yield json.dumps(plain, ensure_ascii=False, default=lambda value: f"bytes {value.hex()}")
        yield from _wrapped(pack_header(header) + encode_body(body))
        yield "```\n"


def _wrapped(frame: bytes) -> Iterator[str]:
    text = frame.hex()
    for start in range(0, len(text), 64):
        yield text[start : start + 64]


if __name__ == "__main__":
    README.write_text(with_parts(README.read_text(encoding="utf-8")), encoding="utf-8")
