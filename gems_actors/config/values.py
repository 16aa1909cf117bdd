"""The types of single settings: what each accepts, and how an error describes what it expects."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from gems_actors.addresses import ADDRESS_PATTERN, PORT_PATTERN
from protocol.envelope import ROLE_NAME
from protocol.limits import MAX_ACTORS

_HOST = r"([^/:\s@\[\]]+|\[[0-9a-fA-F:.]+\])"
_CODE = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"


def _text(pattern: str, description: str) -> Meta:
    return Meta(pattern=pattern, description=description)


# No time has a lower bound so small that a process would do nothing but keep it.
Seconds = Annotated[float, Meta(ge=0.01, le=86_400)]
Period = Annotated[float, Meta(ge=1, le=86_400)]
Backoff = Annotated[float, Meta(ge=0.001, le=3_600)]
Heartbeat = Annotated[float, Meta(ge=0.05, le=60)]
Silence = Annotated[float, Meta(ge=0.15, le=3_600)]
Temperature = Annotated[float, Meta(ge=0.0, le=10.0)]
Positive = Annotated[int, Meta(ge=1, le=1_000_000)]
ActorCount = Annotated[int, Meta(ge=0, le=MAX_ACTORS)]
TokenCount = Annotated[int, Meta(ge=1, le=10**15)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
CacheThreshold = Annotated[float, Meta(ge=0.001, le=1.0)]
Factor = Annotated[float, Meta(ge=0.0, le=10.0)]
Phrase = Annotated[str, Meta(min_length=1, max_length=200, description="text of 1 to 200 characters")]
Price = Annotated[float, Meta(ge=0.0, le=1e9)]

IS_PATH = {"is_path": True}
"""Marks types whose values the loader makes absolute."""
_PATH = r"^[^\0]+\Z"  # the system takes every other character
Folder = Annotated[str, Meta(pattern=_PATH, description="the path of a folder", extra=IS_PATH)]
FilePath = Annotated[str, Meta(pattern=_PATH, description="the path of a file", extra=IS_PATH)]

Address = Annotated[
    str, _text(rf"^{ADDRESS_PATTERN}\Z", "tcp://HOST:PORT, with a port from 1 to 65535, or ipc:///PATH")
]
ListenAddress = Annotated[
    str, _text(rf"^([^/:\s]+|\[[0-9a-fA-F:]+\]):{PORT_PATTERN}\Z", "HOST:PORT such as 127.0.0.1:9464")
]
HostName = Annotated[str, _text(r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\Z", "a host name such as gems.example.org")]
Url = Annotated[
    str,
    _text(
        rf"^https?://([^/\s@]*@)?{_HOST}(:{PORT_PATTERN})?(/\S*)?\Z",
        "the address of a server, such as http://HOST:8000/v1",
    ),
]

MESH_BLOBS = "mesh:"
BlobAddress = Annotated[
    str,
    _text(
        r"^(file:///[^\0]+|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s?#]*)?|mesh:)\Z",
        "file:///FOLDER, s3://BUCKET/PREFIX or mesh:",
    ),
]
Region = Annotated[str, _text(r"^[a-z0-9-]+\Z", "a region such as eu-west-1")]

RoleName = Annotated[
    str,
    _text(
        rf"^{ROLE_NAME.pattern}\Z",
        "a role name such as translator: up to 16 lower-case letters, digits and _, a letter first",
    ),
]
ActorClass = Annotated[str, _text(rf"^{_CODE}\Z", "a class as MODULE:CLASS")]
TypeName = Annotated[
    str, _text(r"^([A-Za-z]\w{0,30}|\*)\Z", "a message type such as PlanPrompt, of up to 31 characters")
]
RoleRequest = Annotated[
    str,
    _text(rf"^{ROLE_NAME.pattern}\.([A-Za-z]\w{{0,30}}|\*)\Z", "ROLE.TYPE such as memory.ReadTrajectory, or ROLE.*"),
]


def _backend(*built_in: str) -> Meta:
    return Meta(
        pattern=rf"^({'|'.join(built_in)}|{_CODE})\Z",
        description=f"one of {', '.join(built_in)}, or your own as MODULE:FUNCTION",
    )


ImageBackend = Annotated[str, _backend("storyboard", "diffusers", "openai", "gems")]
ChatBackend = Annotated[str, _backend("storyboard", "openai", "replay")]

DeviceName = Annotated[str, _text(r"^(cpu|cuda(:\d{1,3})?)\Z", "cpu, cuda or cuda:N")]
DeviceNames = Annotated[tuple[DeviceName, ...], Meta(min_length=1, description="a list such as ['cuda:0', 'cuda:1']")]

SlurmWord = Annotated[str, _text(r"^[^\s\"'`\\#]+\Z", "a word that Slurm takes, without spaces or quotes")]
SlurmOption = Annotated[str, _text(r"^--?[a-zA-Z][^\n\r]*\Z", "an option of sbatch in one line, such as --qos=high")]
GroupName = Annotated[
    str,
    _text(r"^(?!head\Z)[a-z][a-z0-9]{0,30}\Z", "a name of lower-case letters and digits, a letter first, and not head"),
]
