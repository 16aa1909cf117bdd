"""Every setting of a mesh as a field of a frozen record; `gems config` and the guide are generated from them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from gems_actors.addresses import can_hold_sockets, join_addresses, next_address, split_addresses
from gems_actors.config import values as v
from gems_actors.config.models import ChatConfig, ChatModelConfig, ImageConfig, StoryboardConfig, VerifyConfig
from gems_actors.os_process import FileAccess
from gems_actors.roles import BUILT_IN_ROLES, OPTIONAL_ROLES, RoleSpec, start_order, stop_order
from protocol.blobs import blob_address
from protocol.limits import MAX_SHARDS
from protocol.messages import DrawSettings, SidePx


class RoleConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many actors play a role on this host; for a role of your own also its class and what its key may do.

    A setting from `actor` on that is unset has the value of the built-in role, or the default of `RoleSpec`.
    """

    count: v.ActorCount = 1
    """Number of actors that the supervisor starts on this host."""
    capacity: v.Positive | None = None
    """Requests that each actor takes at once; unset: the role's own default."""
    max: v.ActorCount | None = None
    """Largest number of actors that autoscaling may start while requests wait for longer than `target_delay_s`;
    unset: no autoscaling."""
    min: v.ActorCount | None = None
    """Smallest number of actors that autoscaling may leave while there is little to do; unset: `count`."""
    target_delay_s: v.Seconds = 1.0
    """Queue delay in seconds above which autoscaling adds actors."""
    actor: v.ActorClass | None = None
    """Class that plays the role, as `module:Class`; required for a role of your own; unset: the built-in one."""
    requests: tuple[v.TypeName, ...] | None = None
    """Types of the requests that the role answers; default: any."""
    clients_may_ask: tuple[v.TypeName, ...] | None = None
    """Types of requests that a client's key may send to the role; default: all of `requests`."""
    may_ask: tuple[v.RoleRequest, ...] | None = None
    """Requests to other roles that the role's key may send, such as `memory.ReadTrajectory`; default: none."""
    may_publish: tuple[v.TypeName, ...] | None = None
    """Types of the events that the role's key may publish; default: none."""
    reads_blobs: bool | None = None
    """Whether the role's key may read pictures from the blob store; default: false."""
    writes_blobs: bool | None = None
    """Whether the role's key may add pictures to the blob store; default: false."""
    uses_chat: bool | None = None
    """Whether the role asks a chat model, configured by `[chat]` and `[chat.roles.NAME]`; default: false."""
    scales_freely: bool | None = None
    """Whether `max` may be set: false for a role that owns a GPU or a file; default: true."""
    version: Annotated[str, Meta(max_length=64, description="text of up to 64 characters")] | None = None
    """Version of your own class, part of a picture's key in bulk if `[loop]` names the role or it is a built-in one;
    default: empty."""
    survives_pause: bool | None = None
    """Whether requests of paused and cancelled runs are still handed to the role; default: false."""


class LoopConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Roles that the conductor asks at three places of the loop, for steps of your own."""

    before_plan: v.RoleName | None = None
    """Role that answers `BeforePlan` with the prompt for planner, decomposer and refiner; unset: the user's own."""
    after_verdicts: v.RoleName | None = None
    """Role that answers `AfterVerdicts` with the verdicts that count; unset: those of the verifier count."""
    before_refinement: v.RoleName | None = None
    """Role that answers `BeforeRefinement` with a note that is shown to the refiner; unset: no note."""

    def hooks(self) -> Iterator[tuple[str, str, str]]:
        """Yield the setting, the role and the type of request of every hook that is configured."""
        for setting in self.__struct_fields__:
            if (role := getattr(self, setting)) is not None:
                yield setting, role, setting.title().replace("_", "")


class RouterConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the router listens, its limits, and its timeouts."""

    address: v.Address | None = None
    """Address `tcp://HOST:PORT` at which other hosts reach the router; unset: only this host does, by a Unix socket."""
    count: Annotated[int, Meta(ge=1, le=16)] = 1
    """Number of routers on this host, among which trajectories are spread; each listens one port above the last."""
    others: tuple[v.Address, ...] = ()
    """Addresses of routers on other hosts that this host's actors serve too; `gems role router` runs one."""
    runtime_dir: v.Folder | None = None
    """Folder of the Unix socket; default: `$XDG_RUNTIME_DIR/gems-actors`, or a private folder for a single draw."""
    heartbeat_s: v.Heartbeat = 1.0
    """Seconds between two heartbeats of a peer."""
    silence_s: v.Silence = 6.0
    """Heartbeat timeout in seconds, after which an actor is considered dead and its requests are handed to others."""
    max_queue: v.Positive = 10_000
    """Maximum requests queued per role; further requests fail with `overloaded`."""
    max_deliveries: Annotated[int, Meta(ge=1, le=100)] = 4
    """Number of actors that a request may crash, without a recorded step in between, before it fails with `poisoned`;
    for the last two of them it is kept apart from others that crashed as many."""
    max_requests_per_s: v.Positive = 20_000
    """Maximum requests per second of one key over tcp; further requests fail with `overloaded`."""
    insecure: bool = False
    """Whether other hosts may connect without keys, so that everyone who reaches the port may do everything."""


class SecurityConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys for tcp, as `gems keys new` makes them; the Unix socket needs none, because only its user can reach it."""

    key: v.FilePath | None = None
    """File with this host's secret key; unset: tcp without keys."""
    router_key: v.FilePath | None = None
    """File with the router's public key, by which clients and agents recognise the router; required where they use a
    key."""
    allowed: v.FilePath | None = None
    """File with the router's allow-list of public keys and their grants, read again when it changes; required where
    the router has a key."""


NO_KEYS = SecurityConfig()
"""Settings for the Unix socket, and for tcp within one host."""


class SupervisorConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When the supervisor restarts processes and when it gives up; intensity and period are those of Erlang/OTP."""

    max_restarts: Annotated[int, Meta(ge=0, le=10_000)] = 10
    """Maximum restarts of one role within `period_s`; with one more the supervisor gives up."""
    period_s: v.Period = 30.0
    """Length in seconds of the period in which restarts are counted."""
    backoff_s: v.Backoff = 0.05
    """Delay in seconds before the first restart, doubled with each further one."""
    max_backoff_s: v.Backoff = 10.0
    """Longest delay in seconds before a restart."""
    grace_s: v.Seconds = 10.0
    """Seconds that an actor has for a graceful shutdown before it is killed."""
    unresponsive_s: v.Period = 30.0
    """Seconds without a response after which the supervisor kills and replaces a router, or the process that forks
    roles; at least `router.silence_s` for a router."""


class DrawConfig(DrawSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How prompts are drawn unless a request says otherwise."""


class MemoryConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How memory is stored, and whether trajectories learn from one another."""

    shards: Annotated[int, Meta(ge=1, le=MAX_SHARDS)] = 1
    """Number of memory processes that share the trajectories, each with its own log; may change at any restart."""
    recall: bool = False
    """Whether planner and refiner also see lessons from similar prompts that ended with every requirement met."""


class BudgetConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much may be spent on chat models before a run or a trajectory ends with the best attempt so far."""

    max_tokens_per_run: v.TokenCount | None = None
    """Maximum chat tokens of one run; unset: no limit."""
    max_calls_per_trajectory: v.Positive | None = None
    """Maximum chat calls of one trajectory; unset: no limit."""


class SkillsConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where skills are found."""

    folders: tuple[v.Folder, ...] = ()
    """Folders with skills of your own, in addition to the built-in ones; `gems skills learn` writes into the first."""
    max_learnt: v.Positive = 8
    """Maximum number of learnt skills that are offered; beyond it, `gems skills learn` retires those that helped
    least."""


class S3Config(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The service of an `s3:` blob store; credentials come from the environment's `AWS_*`, as for every S3 client."""

    endpoint: v.Url | None = None
    """Address of the service; unset: `AWS_ENDPOINT_URL`, or Amazon's."""
    region: v.Region | None = None
    """Region of the bucket; unset: `AWS_REGION`, or us-east-1."""


class SlurmHeadConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The job of the router and of every role that no group plays."""

    cpus: v.Positive | None = None
    """CPU cores of the job; unset: the cluster's default."""
    mem: v.SlurmWord | None = None
    """Memory of the job, such as `16G`; unset: the cluster's default."""
    options: tuple[v.SlurmOption, ...] = ()
    """Further options of sbatch for this job, such as `--nodelist=node01`."""


class SlurmGroupConfig(SlurmHeadConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One array of jobs, each of them an agent that plays the same roles."""

    name: v.GroupName
    """Name of the group, in the names of its job and files."""
    roles: dict[v.RoleName, v.ActorCount]
    """Number of actors of each role that one agent starts; memory stays with the router."""
    array: Annotated[int, Meta(ge=1, le=10_000)] = 1
    """Number of agents in the array."""
    gres: v.SlurmWord | None = None
    """Generic resources of each agent, such as `gpu:1`; unset: none."""

    def counts(self) -> dict[str, int]:
        """Return the number of actors of each role that an agent plays, without the zeros."""
        return {role: count for role, count in self.roles.items() if count}


class SlurmConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How `gems slurm render` spreads a mesh over the nodes of a cluster."""

    partition: v.SlurmWord | None = None
    """Partition of every job; unset: the cluster's default."""
    account: v.SlurmWord | None = None
    """Account that every job is charged to; unset: the cluster's default."""
    time: v.SlurmWord | None = None
    """Time limit of every job, such as `24:00:00`, after which it is queued again; unset: the cluster's default."""
    options: tuple[v.SlurmOption, ...] = ()
    """Further options of sbatch for every job, such as `--qos=high`."""
    head: SlurmHeadConfig = SlurmHeadConfig()
    """Resources of the job that runs the router."""
    groups: tuple[SlurmGroupConfig, ...] = ()
    """Groups of agents, each in a table `[[slurm.groups]]`."""


class MetricsConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a supervisor or an agent answers health checks and Prometheus."""

    address: v.ListenAddress | None = None
    """Address `HOST:PORT` of the HTTP server, which asks for no keys; unset: no server."""


class TracesConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where every process sends its spans, one trace for each trajectory; needs the extra `traces`."""

    endpoint: v.Url | None = None
    """Address of a collector that takes OTLP over HTTP, such as `http://collector:4318`; unset: no traces."""


_EVERY_HOST = ("0.0.0.0", "*", "[::]", "")


class GatewayConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the gateway serves HTTP, and who may use it."""

    address: v.ListenAddress | None = None
    """Address `HOST:PORT` of the HTTP server, such as `127.0.0.1:8484`; unset: no gateway. Beyond loopback it needs
    tokens."""
    tokens: v.FilePath | None = None
    """File with the names and tokens of those who may use the gateway, read again when it changes; unset: none."""
    tokens_env: str | None = None
    """Name of the environment variable with further tokens, as `NAME=TOKEN`, separated by spaces; unset: none."""
    hosts: tuple[v.HostName, ...] = ()
    """Names under which clients reach the gateway, in addition to `localhost`, the name of this host, and IP
    addresses; requests with another `Host` are refused."""
    tls_certificate: v.FilePath | None = None
    """PEM file with the certificate for https and its chain; unset: http."""
    tls_key: v.FilePath | None = None
    """PEM file with the certificate's secret key; required with `tls_certificate`."""
    requests_per_minute: v.Positive | None = None
    """Maximum requests per minute of each token for which the file sets no other limit; unset: no limit."""
    images_per_day: v.Positive | None = None
    """Maximum images per day (UTC) of each token for which the file sets no other limit; unset: no limit."""
    max_draws: v.Positive = 64
    """Maximum pictures being drawn for clients at once; further requests are answered with 429."""
    max_images: v.Positive = 100
    """Maximum images that one request may draw: pictures, times rounds, times candidates of a round."""
    max_job_images: v.Positive = 10_000
    """Maximum images that one job may draw."""
    webhook_hosts: tuple[v.HostName, ...] = ()
    """Hosts to which the end of jobs may be reported; unset: none."""
    max_side_px: SidePx = 2048
    """Maximum width and height of a picture in pixels."""
    timeout_s: v.Seconds = 600.0
    """Time limit in seconds for one request, after which it is answered with 504."""

    @property
    def url(self) -> str:
        """Where it serves; empty without an address."""
        scheme = "http" if self.tls_certificate is None else "https"
        return "" if self.address is None else f"{scheme}://{self.address}"

    @property
    def local_url(self) -> str:
        """Where a browser of its host finds it; empty without an address."""
        scheme, _, address = self.url.partition("://")
        host, _, port = address.rpartition(":")
        return f"{scheme}://{'127.0.0.1' if host in _EVERY_HOST else host}:{port}/" if address else ""


class LogConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the processes log to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged."""
    format: Literal["console", "json"] = "console"
    """Format of the lines: `console` for people, `json` for machines."""


def user_runtime_path() -> Path:
    """Return the default folder in which this user's processes on this host find one another.

    An `XDG_RUNTIME_DIR` that is relative, or too long for sockets, is not used.
    """
    folder = f"{os.environ.get('XDG_RUNTIME_DIR', '')}/gems-actors"
    is_usable = folder.startswith("/") and folder != "/gems-actors" and can_hold_sockets(folder)
    return Path(folder if is_usable else f"/tmp/gems-actors-{os.getuid()}/gems-actors")


def user_state_path() -> Path:
    """Return the default folder of what this user's meshes and commands keep."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "gems-actors"


class MeshConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings of a mesh; the defaults are an embedded mesh that needs no GPU, no weights and no key."""

    include: tuple[v.FilePath, ...] = ()
    """Files with further settings, relative to the mesh file, which wins over them; only in a mesh file."""
    data_dir: v.Folder | None = None
    """Folder of memory's log and the pictures; default: `$XDG_STATE_HOME/gems-actors`, or a private folder for a single
    draw."""
    access: FileAccess = "private"
    """Who may read and write the files that `gems` creates, pictures and records among them: `private`, only their
    owner; `group`, the group of their folder as well, for hosts that several users share. Never other users."""
    blobs: v.BlobAddress | None = None
    """Where pictures are stored: `file:///FOLDER`, `s3://BUCKET/PREFIX`, or `mesh:` for the router's host; unset: the
    folder `blobs` in `data_dir`."""
    blob_cache_mib: v.Positive = 4096
    """Maximum MiB of pictures of other hosts cached in `data_dir` with `mesh:`; the least recently used are evicted
    first."""
    import_path: tuple[v.Folder, ...] = ()
    """Folders with code of your own, relative to the file that names them, that the processes of roles import from."""
    router: RouterConfig = RouterConfig()
    security: SecurityConfig = SecurityConfig()
    roles: dict[v.RoleName, RoleConfig] = {}
    """One table per role, `[roles.NAME]`: the built-in roles, and your own."""
    loop: LoopConfig = LoopConfig()
    supervisor: SupervisorConfig = SupervisorConfig()
    draw: DrawConfig = DrawConfig()
    memory: MemoryConfig = MemoryConfig()
    image: ImageConfig = ImageConfig()
    chat: ChatConfig = ChatConfig()
    verify: VerifyConfig = VerifyConfig()
    storyboard: StoryboardConfig = StoryboardConfig()
    budget: BudgetConfig = BudgetConfig()
    judge: ChatModelConfig | None = None
    """Chat model that judges benchmarks for `gems eval --score`, with settings as in `[chat]`; best another than those
    of the roles; unset: none."""
    skills: SkillsConfig = SkillsConfig()
    s3: S3Config = S3Config()
    slurm: SlurmConfig = SlurmConfig()
    metrics: MetricsConfig = MetricsConfig()
    traces: TracesConfig = TracesConfig()
    gateway: GatewayConfig = GatewayConfig()
    log: LogConfig = LogConfig()

    def __post_init__(self) -> None:
        """Give every built-in role its entry in `roles`, and the gateway if it is configured."""
        optional = ("gateway",) if self.gateway.address is not None else ()
        started = {name: RoleConfig() for name in (*BUILT_IN_ROLES, *optional)}
        structs.force_setattr(self, "roles", started | self.roles)

    @property
    def runtime_path(self) -> Path:
        """Folder of the Unix socket."""
        return Path(self.router.runtime_dir or user_runtime_path())

    @property
    def data_path(self) -> Path:
        """Folder of memory's log and the pictures."""
        return Path(self.data_dir or user_state_path())

    @property
    def router_addresses(self) -> tuple[str, ...]:
        """Addresses of each router of this host: its Unix socket, and its tcp port where one is configured."""
        ipc, tcp = f"ipc://{self.runtime_path}/router.ipc", self.router.address
        first = [ipc] if tcp in (None, ipc) else [ipc, tcp]
        return tuple(
            join_addresses(next_address(address, number) for address in first) for number in range(self.router.count)
        )

    @property
    def local_address(self) -> str:
        """Address at which this host's actors and clients reach all routers."""
        return join_addresses([*(split_addresses(one)[0] for one in self.router_addresses), *self.router.others])

    @property
    def blob_addresses(self) -> tuple[str, ...]:
        """Addresses at which `mesh:` serves pictures, derived from those of the first router."""
        return tuple(blob_address(one) for one in split_addresses(self.router_addresses[0]))

    @property
    def role_specs(self) -> dict[str, RoleSpec]:
        """Records of all roles of the mesh by name: the built-in ones, then those of `[roles]`."""
        specs = dict(BUILT_IN_ROLES)
        for name, settings in self.roles.items():
            own = {field: getattr(settings, field, None) for field in RoleSpec.__struct_fields__}
            changed = {field: value for field, value in own.items() if value is not None}
            known = specs.get(name) or OPTIONAL_ROLES.get(name) or RoleSpec(name=name, actor="")
            specs[name] = structs.replace(known, **changed)
        hooks = tuple(f"{role}.{request}" for _, role, request in self.loop.hooks())
        conductor = specs["conductor"]
        specs["conductor"] = structs.replace(conductor, may_ask=(*conductor.may_ask, *hooks))
        return specs

    @property
    def start_order(self) -> tuple[str, ...]:
        """Names of all roles in start order, dependencies first."""
        return start_order(self.role_specs)

    @property
    def stop_order(self) -> tuple[tuple[str, ...], ...]:
        """Groups of roles that can stop at once, those that ask others first."""
        return stop_order(self.role_specs)

    @property
    def chat_roles(self) -> tuple[str, ...]:
        """Names of the roles that ask a chat model."""
        return tuple(name for name, spec in self.role_specs.items() if spec.uses_chat)

    def chat_models(self) -> dict[str, ChatModelConfig]:
        """Return each chat model that is in use, by the table of its settings."""
        models: dict[str, ChatModelConfig] = {}
        for role in self.chat_roles:
            model = self.chat.of(role)
            is_common = (model.backend, model.url, model.model) == (self.chat.backend, self.chat.url, self.chat.model)
            models["chat" if is_common else f"chat.roles.{role}"] = model
        if self.verify.second_opinion is not None:
            models["verify.second_opinion"] = self.verify.second_opinion.over(self.chat.of("verifier"))
        return models

    def role(self, name: str) -> RoleConfig:
        """Return the settings of one role."""
        return self.roles[name]
