"""All settings of a mesh, read once into frozen records.

Later sources win: defaults, the file, the environment (`GEMS__ROLES__VERIFIER__COUNT=4`), flags (`--set
roles.verifier.count=4`). An unknown key or an impossible value is an error that names its source, the key, what was
expected and what got.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct, inspect, structs

from gems_actors.addresses import join_addresses, next_address, split_addresses
from gems_actors.errors import ConfigError
from protocol.blobs import MAX_ROUTER_PORT, blob_address
from protocol.limits import MAX_SHARDS
from protocol.messages import DrawSettings, SidePx

ENVIRONMENT_PREFIX = "GEMS__"
_KEY = r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*"

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Temperature = Annotated[float, Meta(ge=0.0, le=10.0)]
Positive = Annotated[int, Meta(ge=1, le=1_000_000)]
ActorCount = Annotated[int, Meta(ge=0, le=4096)]
TokenCount = Annotated[int, Meta(ge=1, le=10**15)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Price = Annotated[float, Meta(ge=0.0, le=1e9)]
Folder = Annotated[str, Meta(min_length=1, description="the path of a folder")]
FilePath = Annotated[str, Meta(min_length=1, description="the path of a file")]
_PORT = r"(6553[0-5]|655[0-2]\d|65[0-4]\d{2}|6[0-4]\d{3}|[1-5]\d{4}|[1-9]\d{0,3})"  # libzmq takes 99999 as 34463
Address = Annotated[
    str,
    Meta(
        pattern=rf"^(ipc:///.+|tcp://([^/:]+|\[[0-9a-fA-F:]+\]):{_PORT})\Z",
        description="tcp://HOST:PORT, with a port from 1 to 65535, or ipc:///PATH",
    ),
]

Url = Annotated[
    str, Meta(pattern=r"^https?://[^/\s]+(/\S*)?\Z", description="the address of a server, such as http://HOST:8000/v1")
]

MESH_BLOBS = "mesh:"
BlobAddress = Annotated[
    str,
    Meta(
        pattern=r"^(file:///.+|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s?#]*)?|mesh:)\Z",
        description="file:///FOLDER, s3://BUCKET/PREFIX or mesh:",
    ),
]

ListenPlace = Annotated[
    str,
    Meta(pattern=rf"^([^/:\s]+|\[[0-9a-fA-F:]+\]):{_PORT}\Z", description="HOST:PORT such as 127.0.0.1:9464"),
]

DeviceName = Annotated[str, Meta(pattern=r"^(cpu|cuda(:\d{1,3})?)\Z", description="cpu, cuda or cuda:N")]
DeviceNames = Annotated[tuple[DeviceName, ...], Meta(min_length=1, description="a list such as ['cuda:0', 'cuda:1']")]

SlurmWord = Annotated[
    str, Meta(pattern=r"^[^\s\"'`\\#]+\Z", description="a word that Slurm takes, without spaces or quotes")
]
SlurmOption = Annotated[
    str, Meta(pattern=r"^--?[a-zA-Z][^\n\r]*\Z", description="an option of sbatch in one line, such as --qos=high")
]
GroupName = Annotated[
    str,
    Meta(
        pattern=r"^(?!head\Z)[a-z][a-z0-9]{0,30}\Z",
        description="a name of letters and digits that begins with a letter, not head",
    ),
]

ROLES = (
    "memory", "generator", "verifier", "compressor", "refiner", "decomposer", "planner", "conductor",
)  # fmt: skip
"""Every role that the supervisor starts behind the router, in the order of starting: nobody before whom they ask."""


class RoleConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many actors play a role on this host, and how many requests each takes at once."""

    count: ActorCount = 1
    capacity: Positive | None = None
    """None: what the role itself thinks fit."""
    max: ActorCount | None = None
    """So many at most, as long as requests wait for longer than `target_delay_s`; None: `count`, whatever waits."""
    min: ActorCount | None = None
    """So many at least, while there is little to do; None: `count`."""
    target_delay_s: Seconds = 1.0


class RolesConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One entry a role."""

    conductor: RoleConfig = RoleConfig()
    planner: RoleConfig = RoleConfig()
    decomposer: RoleConfig = RoleConfig()
    generator: RoleConfig = RoleConfig()
    verifier: RoleConfig = RoleConfig()
    compressor: RoleConfig = RoleConfig()
    refiner: RoleConfig = RoleConfig()
    memory: RoleConfig = RoleConfig()


class RouterConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the router listens and when it loses patience."""

    address: Address | None = None
    """`tcp://HOST:PORT` to serve other hosts too; this host's actors always use the ipc socket in `runtime_dir`."""
    count: Annotated[int, Meta(ge=1, le=16)] = 1
    """Routers of this host, over which trajectories are spread; each further one listens one port higher."""
    others: tuple[Address, ...] = ()
    """Routers of other hosts, such as `gems role router` runs them, that this host's actors serve too."""
    runtime_dir: Folder | None = None
    """Folder of the ipc socket; default `$XDG_RUNTIME_DIR/gems-actors`, or a private folder for an ephemeral mesh."""
    heartbeat_s: Seconds = 1.0
    silence_s: Seconds = 6.0
    """An actor that says nothing for so long is lost, and what it held goes to others."""
    max_queue: Positive = 10_000
    """Requests that may wait for one role; further ones are answered `overloaded`."""
    max_deliveries: Annotated[int, Meta(ge=1, le=100)] = 3
    """A request that took down so many actors is poisoned."""
    max_requests_per_s: Positive = 20_000
    """Of one key over tcp; further ones are answered `overloaded`."""
    insecure: bool = False
    """Listen for other hosts without any key: whoever reaches the port may do everything."""


class SecurityConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who this host is, and whom it lets in, over tcp; the ipc socket is in a folder that only its user can enter.

    Every key is a file of its own, as `gems keys new` makes it.
    """

    key: FilePath | None = None
    """This host's secret key: of the router where it listens, else the one that the router lets in."""
    router_key: FilePath | None = None
    """Public key of the router, for who connects: nobody else can pose as it."""
    allowed: FilePath | None = None
    """For the router: who is let in, and what for. Read again when it changes."""


NO_KEYS = SecurityConfig()
"""For the ipc socket, and for tcp on one host."""


class SupervisorConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When the supervisor restarts, waits and gives up; intensity and period as in Erlang/OTP."""

    max_restarts: Annotated[int, Meta(ge=0, le=10_000)] = 10
    period_s: Seconds = 30.0
    """More than `max_restarts` restarts of one role within so many seconds, and the supervisor gives up."""
    backoff_s: Seconds = 0.05
    """Before the first restart; doubled with each further one."""
    max_backoff_s: Seconds = 10.0
    grace_s: Seconds = 10.0
    """What a draining actor has to finish or hand back what it holds, before it is killed."""


class DrawConfig(DrawSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How prompts are drawn unless a request says otherwise."""


class MemoryConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How memory is kept, and what is told of the past of other trajectories."""

    shards: Annotated[int, Meta(ge=1, le=MAX_SHARDS)] = 1
    """Processes that memory is shared out over by trajectory, each with a log of its own; may change at any start."""
    recall: bool = False
    """Planner and refiner are shown the lessons of earlier prompts like theirs that were drawn until all was met."""


class ModelServerConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a model is served, with OpenAI's API."""

    url: Url | None = None
    """Of the API, such as `http://HOST:8000/v1`."""
    model: str | None = None
    """What the server calls the model; None: its only one."""
    api_key_env: str | None = None
    """Name of the environment variable with the key; with neither this nor `api_key_file` none is sent."""
    api_key_file: FilePath | None = None
    """File that holds the key and nothing else."""
    timeout_s: Seconds = 120.0
    """For one answer."""


class ImageConfig(ModelServerConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The model that draws."""

    backend: Literal["storyboard", "diffusers", "openai"] = "storyboard"
    model: str | None = None
    """For `diffusers` a folder or a hub id; for `openai` what the server calls the model, or None for its only one."""
    timeout_s: Seconds = 300.0
    """For one picture of a server; an engine that has work and says nothing for so long is replaced."""

    devices: Literal["next", "all"] | DeviceNames = "next"
    """For `diffusers`: the first GPU that no other generator of this host holds, all of them, or those named."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Of the weights; `auto` is bfloat16 on a GPU and float32 on a CPU."""
    compile: bool = False
    """Compile the blocks of the transformer while loading: minutes then, launches saved afterwards."""
    max_step_tokens: Positive | None = None
    """Of one denoising step of a batch; None: as many as pay, see `backends/diffusion/batch_scheduler.py`."""
    warm_up: tuple[tuple[SidePx, SidePx], ...] = ()
    """Sizes to draw before the generator is ready, beside that of `draw`."""

    extra: dict[str, Any] = {}
    """Fields of the request beside prompt, size and seed, such as `num_inference_steps`."""
    omit: tuple[str, ...] = ()
    """Fields that the server refuses, such as `seed`."""

    @property
    def shown_name(self) -> str:
        """How a picture says what drew it."""
        if self.backend == "diffusers" and self.model is not None and Path(self.model).is_absolute():
            return Path(self.model).name
        return self.model or self.backend


class Prices(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a server takes for a million tokens, in whatever currency."""

    prompt: Price = 0.0
    cached: Price | None = None
    """Of the prompt's tokens those that the server had in its cache; None: as the others."""
    completion: Price = 0.0


class ChatServerConfig(ModelServerConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A server of chat completions."""

    prices: Prices = Prices()


class ChatModelConfig(ChatServerConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model that answers chats."""

    backend: Literal["storyboard", "openai", "replay"] = "storyboard"
    fallbacks: tuple[ChatServerConfig, ...] = ()
    """Asked in this order while those before them cannot be reached."""
    temperature: Temperature | None = None
    """None: as the server has it; likewise `thinking` and `max_tokens`."""
    thinking: bool | None = None
    """Whether the model thinks before it answers; sent as `chat_template_kwargs`, as Qwen3's and Kimi's want it."""
    max_tokens: Positive | None = None
    """Of an answer and its thinking; an answer that is cut by it is a failure."""
    structured: bool = True
    """Answers that are JSON are asked for by their schema, of servers that do not refuse that."""
    extra: dict[str, Any] = {}
    """Fields of the request beside these and the messages, such as `top_p`."""


class ChatRoleConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is otherwise for one role; None: as for all."""

    backend: Literal["storyboard", "openai", "replay"] | None = None
    url: Url | None = None
    model: str | None = None
    api_key_env: str | None = None
    api_key_file: FilePath | None = None
    timeout_s: Seconds | None = None
    prices: Prices | None = None
    fallbacks: tuple[ChatServerConfig, ...] | None = None
    temperature: Temperature | None = None
    thinking: bool | None = None
    max_tokens: Positive | None = None
    structured: bool | None = None
    extra: dict[str, Any] = {}
    """Goes before the fields of the same name for all."""

    def over(self, common: ChatModelConfig) -> ChatModelConfig:
        """Return a model as this one has it otherwise; another server has a key, models and prices of its own."""
        own = structs.asdict(self)
        merged = {name: getattr(common, name) for name in ChatModelConfig.__struct_fields__}
        if self.url is not None and self.url != common.url:
            there = ChatModelConfig()
            names = ("model", "api_key_env", "api_key_file", "prices", "fallbacks")
            merged |= {name: getattr(there, name) for name in names}
        merged |= {name: value for name, value in own.items() if value is not None}
        return ChatModelConfig(**{**merged, "extra": common.extra | self.extra})


class ChatRolesConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One entry a role that asks a chat model."""

    planner: ChatRoleConfig = ChatRoleConfig()
    decomposer: ChatRoleConfig = ChatRoleConfig()
    verifier: ChatRoleConfig = ChatRoleConfig()
    compressor: ChatRoleConfig = ChatRoleConfig()
    refiner: ChatRoleConfig = ChatRoleConfig()


class ChatConfig(ChatModelConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The models that plan, decompose, judge, compress and refine: one for all, and what is otherwise for a role."""

    roles: ChatRolesConfig = ChatRolesConfig()
    record: FilePath | None = None
    """File to which every question and its answer are added."""
    replay: FilePath | None = None
    """For `replay`: a file that was recorded."""

    def of(self, role: str) -> ChatModelConfig:
        """Return the model of one role."""
        own: ChatRoleConfig = getattr(self.roles, role)
        return own.over(self)


CHAT_ROLES = ChatRolesConfig.__struct_fields__
"""Those that ask a chat model."""


GROWING_ROLES = ("conductor", *CHAT_ROLES)
"""Those that only wait for others, so that a host can have more of them for little."""


class VerifyConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a picture is checked."""

    mode: Literal["score", "words", "batch"] = "score"
    """One call a requirement, answered by one token and its probability where the server tells those; answered in words
    with a reason; or one call a picture for all of them, for servers that count requests."""
    met_from: Share = 0.6
    """A probability from which on a requirement is met."""
    unmet_below: Share = 0.4
    """A probability below which it is unmet; between the two it is unsure."""
    second_opinion: ChatRoleConfig | None = None
    """Another model than the verifier's, asked where that one is unsure."""


class BudgetConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much may be spent on chat models before a run or a trajectory ends with what it has; None: no limit."""

    max_tokens_per_run: TokenCount | None = None
    max_calls_per_trajectory: Positive | None = None


class SkillsConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where skills are, beside the built-in ones."""

    folders: tuple[Folder, ...] = ()


class S3Config(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The service of an `s3:` store; who we are it is told by the environment's `AWS_*`, as with any client of S3."""

    endpoint: Url | None = None
    """None: Amazon's, or `AWS_ENDPOINT_URL`."""
    region: Annotated[str, Meta(pattern=r"^[a-z0-9-]+\Z", description="a region such as eu-west-1")] | None = None
    """None: `AWS_REGION`, or us-east-1."""


class SlurmHeadConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the job asks for that runs the router and every role that no group plays."""

    cpus: Positive | None = None
    mem: SlurmWord | None = None
    """Such as `16G`."""
    options: tuple[SlurmOption, ...] = ()
    """Further options of sbatch, such as `--nodelist=node01`."""


class SlurmRolesConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Actors of each role that may be on any host; memory's log stays where the router is."""

    conductor: ActorCount = 0
    planner: ActorCount = 0
    decomposer: ActorCount = 0
    generator: ActorCount = 0
    verifier: ActorCount = 0
    compressor: ActorCount = 0
    refiner: ActorCount = 0

    def counts(self) -> dict[str, int]:
        """Return how many there are of each role of which there are any."""
        return {role: count for role, count in structs.asdict(self).items() if count}


class SlurmGroupConfig(SlurmHeadConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Agents that are alike: one array of jobs."""

    name: GroupName
    roles: SlurmRolesConfig
    """How many actors of each role one agent starts."""
    array: Annotated[int, Meta(ge=1, le=10_000)] = 1
    """How many agents."""
    gres: SlurmWord | None = None
    """What each asks for beside cores and memory, such as `gpu:1`."""


class SlurmConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How `gems slurm render` spreads a mesh over the nodes of a cluster; None: as the cluster has it."""

    partition: SlurmWord | None = None
    account: SlurmWord | None = None
    time: SlurmWord | None = None
    """At most so long a job, in Slurm's words such as `24:00:00`; it is queued again when that is over."""
    options: tuple[SlurmOption, ...] = ()
    """Further options of sbatch, for every job."""
    head: SlurmHeadConfig = SlurmHeadConfig()
    groups: tuple[SlurmGroupConfig, ...] = ()


class MetricsConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a supervisor or an agent answers probes and Prometheus."""

    address: ListenPlace | None = None
    """`HOST:PORT`, without keys, for whoever reaches it; None: nowhere."""


class LogConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the processes say of themselves, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


def user_runtime_path() -> Path:
    """Return the folder in which this user's processes on this host find one another, unless told otherwise."""
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/gems-actors-{os.getuid()}") / "gems-actors"


class MeshConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings of a mesh; without a file, the embedded one that needs no GPU, no weights and no key."""

    data_dir: Folder | None = None
    """Memory's log and the pictures; default `$XDG_STATE_HOME/gems-actors`, or a private folder for one draw."""
    blobs: BlobAddress | None = None
    """Where the pictures rest: None for `blobs` in `data_dir`, else a folder, a bucket, or the router's host."""
    blob_cache_mib: Positive = 4096
    """With `mesh:`, of pictures of other hosts in `blob-cache` in `data_dir`; the longest unused go first."""
    router: RouterConfig = RouterConfig()
    security: SecurityConfig = SecurityConfig()
    roles: RolesConfig = RolesConfig()
    supervisor: SupervisorConfig = SupervisorConfig()
    draw: DrawConfig = DrawConfig()
    memory: MemoryConfig = MemoryConfig()
    image: ImageConfig = ImageConfig()
    chat: ChatConfig = ChatConfig()
    verify: VerifyConfig = VerifyConfig()
    budget: BudgetConfig = BudgetConfig()
    judge: ChatModelConfig | None = None
    """Of benchmarks, for `gems eval --score`: another model than any that the roles ask."""
    skills: SkillsConfig = SkillsConfig()
    s3: S3Config = S3Config()
    slurm: SlurmConfig = SlurmConfig()
    metrics: MetricsConfig = MetricsConfig()
    log: LogConfig = LogConfig()

    @property
    def runtime_path(self) -> Path:
        """Folder of the ipc socket."""
        if self.router.runtime_dir is not None:
            return Path(self.router.runtime_dir)
        return user_runtime_path()

    @property
    def data_path(self) -> Path:
        """Folder of memory's log and the pictures."""
        if self.data_dir is not None:
            return Path(self.data_dir)
        base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        return Path(base) / "gems-actors"

    @property
    def router_addresses(self) -> tuple[str, ...]:
        """Where each router of this host listens: at an ipc socket, and at a port where one is wanted."""
        ipc, tcp = f"ipc://{self.runtime_path}/router.ipc", self.router.address
        places = [[ipc] if tcp in (None, ipc) else [ipc, tcp]] * self.router.count
        return tuple(join_addresses(next_address(one, number) for one in place) for number, place in enumerate(places))

    @property
    def local_address(self) -> str:
        """Where this host's actors and clients find the routers."""
        return join_addresses([*(split_addresses(place)[0] for place in self.router_addresses), *self.router.others])

    @property
    def blob_addresses(self) -> tuple[str, ...]:
        """Where pictures are served with `mesh:`: beside the first router of this host."""
        return tuple(blob_address(one) for one in split_addresses(self.router_addresses[0]))

    def chat_models(self) -> dict[str, ChatModelConfig]:
        """Return each chat model that is asked by somebody, by the table of its settings."""
        models: dict[str, ChatModelConfig] = {}
        for role in CHAT_ROLES:
            model = self.chat.of(role)
            is_common = (model.backend, model.url, model.model) == (self.chat.backend, self.chat.url, self.chat.model)
            models["chat" if is_common else f"chat.roles.{role}"] = model
        if self.verify.second_opinion is not None:
            models["verify.second_opinion"] = self.verify.second_opinion.over(self.chat.of("verifier"))
        return models

    def role(self, name: str) -> RoleConfig:
        """The settings of one role."""
        found: RoleConfig = getattr(self.roles, name)
        return found


def load_config(
    path: Path | None = None, environment: Mapping[str, str] | None = None, settings: Iterable[str] = ()
) -> MeshConfig:
    """Read the settings of a mesh from its file, the environment and `KEY=VALUE` flags.

    A relative folder is taken from the folder of the file that names it, elsewhere from the working folder.

    Raises:
        ConfigError: in one line, with the source, the key, what was expected and what was found.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        _merge(tree, _checked(_read_file(path), str(path), path.parent))
    for name, text in sorted((os.environ if environment is None else environment).items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            _merge(tree, _checked(_read_variable(name, text), f"environment {name}"))
    for flag in settings:
        _merge(tree, _checked(_read_flag(flag), "--set"))
    config = msgspec.convert(tree, MeshConfig)
    if config.router.silence_s < 3 * config.router.heartbeat_s:  # one late heartbeat is no loss
        raise ConfigError(
            f"router.silence_s: expected at least 3 times router.heartbeat_s ({config.router.heartbeat_s:g}), "
            f"got {config.router.silence_s:g}"
        )
    if config.blobs == MESH_BLOBS and _port_of(config.router.address) > MAX_ROUTER_PORT:
        raise ConfigError(
            f"router.address: expected a port up to {MAX_ROUTER_PORT}, for pictures are served a hundred higher, "
            f"got {config.router.address}"
        )
    if config.image.backend == "openai" and config.image.url is None:
        raise _no_server("image")
    for table, model in config.chat_models().items():
        for place, server in enumerate((model, *model.fallbacks)):
            if model.backend == "openai" and server.url is None:
                raise _no_server(f"{table}.fallbacks[{place - 1}]" if place else table)
        if model.backend == "replay" and config.chat.replay is None:
            raise ConfigError("chat.replay: expected the path of a file that chat.record has made, got none")
    if config.verify.unmet_below > config.verify.met_from:
        raise ConfigError(
            f"verify.unmet_below: expected at most verify.met_from ({config.verify.met_from:g}), "
            f"got {config.verify.unmet_below:g}"
        )
    for role in ROLES:
        _check_scale(role, config.role(role))
    if config.image.backend == "diffusers" and config.image.model is None:
        raise ConfigError("image.model: expected a folder or a hub id such as owner/name, got none")
    return config


def _check_scale(role: str, settings: RoleConfig) -> None:
    """See that a role may grow by itself, and from less to more."""
    if settings.max is None:
        if settings.min is not None:
            raise ConfigError(f"roles.{role}.min: expected it beside roles.{role}.max, got {settings.min} alone")
        return
    if role not in GROWING_ROLES:
        known = ", ".join(GROWING_ROLES)
        raise ConfigError(f"roles.{role}.max: expected it of a role that only waits for others ({known}), got {role}")
    least = settings.count if settings.min is None else settings.min
    if not least <= settings.count <= settings.max:
        raise ConfigError(
            f"roles.{role}: expected min <= count <= max, got {least}, {settings.count} and {settings.max}"
        )


def _port_of(address: str | None) -> int:
    found = re.fullmatch(r"tcp://.*:(\d+)", address or "")
    return int(found[1]) if found else 0


def _no_server(table: str) -> ConfigError:
    return ConfigError(f"{table}.url: expected the address of a server, such as http://HOST:8000/v1, got none")


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable TOML file, got: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8 text, got byte {error.object[error.start]:#04x}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: expected TOML, got: {error}") from error


def _read_variable(name: str, text: str) -> dict[str, Any]:
    keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
    if not all(re.fullmatch(_KEY, key) for key in keys):
        raise ConfigError(f"environment {name}: expected a name such as GEMS__ROLES__VERIFIER__COUNT, got {name}")
    return _nested(keys, _value(text))


def _read_flag(flag: str) -> dict[str, Any]:
    key, equals, text = flag.partition("=")
    if not equals or not re.fullmatch(rf"{_KEY}(\.{_KEY})*", key):
        raise ConfigError(f"--set: expected KEY=VALUE such as roles.verifier.count=4, got {_shown(flag)}")
    return _nested(key.split("."), _value(text))


def _value(text: str) -> Any:
    """Read a flag's value as TOML would, and plain words as text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _nested(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    nested: dict[str, Any] = value
    return nested


def _merge(tree: dict[str, Any], update: dict[str, Any]) -> None:
    for key, value in update.items():
        if isinstance(value, dict):
            _merge(tree.setdefault(key, {}), value)
        else:
            tree[key] = value


def _checked(update: dict[str, Any], source: str, folder: Path | None = None) -> dict[str, Any]:
    """Return what one source sets, with absolute folders; each source is checked alone, so that it can be named."""
    try:
        msgspec.convert(update, MeshConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {_explain(error, update)}") from error
    base = (folder or Path()).absolute()
    _make_absolute(update, inspect.type_info(MeshConfig), base)
    model = update.get("image", {}).get("model")
    if model is not None and (base / model).is_dir():
        update["image"]["model"] = str(base / model)
    return update


def _make_absolute(tree: Any, kind: inspect.Type, base: Path) -> Any:
    """Return a value of some kind with all paths in it made absolute, a table changed in its place."""
    if isinstance(kind, inspect.UnionType):
        kind = next(option for option in kind.types if not isinstance(option, inspect.NoneType))
    match kind, tree:
        case inspect.StructType(fields=fields), dict():
            for field in fields:
                if field.encode_name in tree:
                    tree[field.encode_name] = _make_absolute(tree[field.encode_name], field.type, base)
        case inspect.VarTupleType(item_type=item_type), list():
            return [_make_absolute(item, item_type, base) for item in tree]
        case inspect.Metadata(extra_json_schema={"description": str(description)}), str() if (
            "the path of" in description
        ):
            return str(base / Path(tree).expanduser())
    return tree


def _explain(error: msgspec.ValidationError, update: dict[str, Any]) -> str:
    """Say which key is wrong, what was expected there and what came; msgspec's own words only tell the place."""
    text, _, place = str(error).partition(" - at `$")
    key = place.strip("`").lstrip(".")
    kind, value = _look_up(key, update)
    if unknown := re.search(r"unknown field `(.*)`", text):
        return _explain_unknown(key, unknown[1], kind)
    if (missing := re.search(r"missing required field `(.*)`", text)) and isinstance(kind, inspect.StructType):
        wanted = next(field.type for field in kind.fields if field.encode_name == missing[1])
        return f"{key}.{missing[1]}: expected {_in_words(wanted, None)}, got none"
    return f"{key}: expected {_in_words(kind, value)}, got {_shown(value)}"


def _explain_unknown(table: str, name: str, kind: inspect.Type) -> str:
    known = [field.encode_name for field in kind.fields] if isinstance(kind, inspect.StructType) else []
    close = difflib.get_close_matches(name, known, n=1)
    expected = "a known key" if close else f"one of {', '.join(known)}"
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{table}{'.' if table else ''}{name}: expected {expected}, got {_shown(name)}{hint}"


def _look_up(key: str, update: dict[str, Any]) -> tuple[inspect.Type, Any]:
    """Return what should stand at a key and what does."""
    kind: inspect.Type = inspect.type_info(MeshConfig)
    value: Any = update
    for part in re.findall(r"\w+", key):
        if isinstance(kind, inspect.StructType):
            declared = get_type_hints(kind.cls)[part]
            kind = next(field.type for field in kind.fields if field.encode_name == part)
            if isinstance(kind, inspect.LiteralType):  # which msgspec has sorted
                kind = inspect.LiteralType(get_args(declared))
            value = value[part]
        elif isinstance(kind, inspect.VarTupleType | inspect.TupleType):
            place = int(part)
            kind = kind.item_type if isinstance(kind, inspect.VarTupleType) else kind.item_types[place]
            value = value[place]
        if isinstance(kind, inspect.UnionType):
            kind = _option_of(kind, value)
    return kind, value


def _option_of(union: inspect.UnionType, value: Any) -> inspect.Type:
    """Return the one kind that a value is likely meant to be of, else the union without None, which TOML cannot say."""
    options = [option for option in union.types if not isinstance(option, inspect.NoneType)]
    lists = [option for option in options if isinstance(_bare(option), inspect.VarTupleType)]
    if len(options) == 1 or (lists and isinstance(value, list) and value):
        return _bare((lists or options)[0]) if lists else options[0]
    return inspect.UnionType(tuple(options))


def _bare(kind: inspect.Type) -> inspect.Type:
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def _in_words(kind: inspect.Type, value: Any) -> str:
    match kind:
        case inspect.Metadata(extra_json_schema={"description": str(description)}):
            return description
        case inspect.LiteralType(values=values):
            return f"{'one of ' if len(values) > 1 else ''}{', '.join(map(str, values))}"
        case inspect.StructType() | inspect.DictType():
            return "a table"
        case inspect.UnionType(types=types):
            return ", or ".join(_in_words(option, value) for option in types)
        case inspect.VarTupleType():
            return "a list"
        case inspect.TupleType(item_types=items):
            return f"a list of {len(items)}"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"a whole number{_bound_in_words(kind, value)}"
        case inspect.FloatType():
            return f"a number{_bound_in_words(kind, value)}"
        case _:
            return "text"


def _bound_in_words(kind: inspect.IntType | inspect.FloatType, value: Any) -> str:
    """Name the bound that a number breaks, or none where it is the type that is wrong."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if kind.ge is not None and not value >= kind.ge:  # said in this way it is true of nan too
        return f" of at least {kind.ge:g}"
    if kind.gt is not None and not value > kind.gt:
        return f" above {kind.gt:g}"
    if kind.le is not None and not value <= kind.le:
        return f" of at most {kind.le:.0f}"
    return ""


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"
