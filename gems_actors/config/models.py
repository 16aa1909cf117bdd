"""Settings of image and chat models, and of how pictures are checked with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta, Struct, structs

from gems_actors.config import values as v
from protocol.messages import RequirementKind, SidePx


class ModelServerConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model server with an OpenAI-compatible API."""

    url: v.Url | None = None
    """Base address of the API, such as `http://HOST:8000/v1`; required with the backends `openai` and `gems`; for
    `gems` without a path."""
    model: str | None = None
    """Name of the model on the server; unset: the only one that it has."""
    api_key_env: str | None = None
    """Name of the environment variable with the API key; with neither this nor `api_key_file`, no key is sent."""
    api_key_file: v.FilePath | None = None
    """File that contains the API key and nothing else."""
    timeout_s: v.Seconds = 120.0
    """Timeout in seconds for one answer."""


class ImageConfig(ModelServerConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The image model."""

    backend: v.ImageBackend = "storyboard"
    """Kind of image model: `storyboard` (embedded), `diffusers` (local GPU or CPU), `openai` (a server), `gems` (a
    server of GEMS' published code), or your own as `module:function`."""
    model: str | None = None
    """Folder or hub id of the model for `diffusers`; for `openai` its name on the server, unset: the only one there."""
    timeout_s: v.Seconds = 300.0
    """Timeout in seconds for one picture of a server, and for a local engine that has work and reports no progress."""

    devices: Literal["next", "all"] | v.DeviceNames = "next"
    """Devices for `diffusers`: the next GPU that no other generator on this host uses, all of them, or a list such as
    `["cuda:0"]`."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Data type of the weights for `diffusers`; `auto` is bfloat16 on a GPU and float32 on a CPU."""
    compile: bool = False
    """Whether the transformer's blocks are compiled during loading, which takes minutes and speeds up drawing."""
    denoising_cache: v.CacheThreshold | None = None
    """Largest relative change of the velocity, such as 0.1, up to which `diffusers` extrapolates it instead of running
    the transformer, in pictures of 20 steps or more; unset: every step is computed."""
    quantization: Literal["none", "fp8"] = "none"
    """Quantization of the transformer's linear layers for `diffusers`; `fp8` needs torchao, half the memory, and draws
    slightly different pictures."""
    max_step_tokens: v.Positive | None = None
    """Maximum image tokens in one denoising step of a batch; unset: as many as a batch still gains from."""
    warm_up: tuple[tuple[SidePx, SidePx], ...] = ()
    """Sizes `[width, height]` in pixels that are drawn once before the generator is ready, in addition to that of
    `[draw]`."""

    edits: bool = False
    """Whether the server of `openai` also draws from pictures, with `POST /images/edits` of its API."""
    extra: dict[str, Any] = {}
    """Fields added to each request of `openai`, such as `num_inference_steps`."""
    omit: tuple[str, ...] = ()
    """Fields left out of each request because the server rejects them, such as `seed`."""

    @property
    def shown_name(self) -> str:
        """Name of the model."""
        if self.backend == "diffusers" and self.model is not None and Path(self.model).is_absolute():
            return Path(self.model).name
        return self.model or self.backend

    @property
    def drawn_by(self) -> str:
        """What a picture records as its image model: the name, and settings with which it draws other pictures."""
        if self.backend != "diffusers":
            return self.shown_name
        cache = () if self.denoising_cache is None else (f"denoising cache {self.denoising_cache:g}",)
        settings = (*cache, *((self.quantization,) if self.quantization != "none" else ()))
        return f"{self.shown_name} ({', '.join(settings)})" if settings else self.shown_name


class Prices(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Prices of a chat server for a million tokens, all in one currency."""

    prompt: v.Price = 0.0
    """Price of a million prompt tokens."""
    cached: v.Price | None = None
    """Price of a million prompt tokens that the server had in its cache; unset: `prompt`."""
    completion: v.Price = 0.0
    """Price of a million tokens of answers and their reasoning."""


class ChatServerConfig(ModelServerConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A server of chat completions."""

    prices: Prices = Prices()
    """Prices of the server's tokens, from which the cost of a run is computed."""


class ChatModelConfig(ChatServerConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A chat model."""

    backend: v.ChatBackend = "storyboard"
    """Kind of chat model: `storyboard` (embedded rules), `openai` (a server), `replay` (recorded answers), or your own
    as `module:function`."""
    fallbacks: tuple[ChatServerConfig, ...] = ()
    """Servers for failover, tables with settings such as `url` and `model`, asked in this order while the ones
    before them cannot be reached."""
    temperature: v.Temperature | None = None
    """Sampling temperature; unset: the server's default."""
    thinking: bool | None = None
    """Whether the model reasons before it answers, sent as `chat_template_kwargs`; unset: the server's default."""
    max_tokens: v.Positive | None = None
    """Maximum tokens of an answer and its reasoning, beyond which the answer is cut off and fails; unset: the server's
    default."""
    structured: bool = True
    """Whether JSON answers are requested with a schema from servers that support it."""
    extra: dict[str, Any] = {}
    """Fields added to each request, such as `top_p`."""


class _ChatOverrides(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of one role that differ from `[chat]`, with the same names; what is unset is as there."""

    def over(self, common: ChatModelConfig) -> ChatModelConfig:
        """Return the model with these settings in place of common ones.

        Where `url` names another server, key, model, prices and fallbacks of the common one do not apply to it.
        """
        own = {name: value for name, value in structs.asdict(self).items() if value is not None}
        of_server = ("model", "api_key_env", "api_key_file", "prices", "fallbacks")
        dropped = of_server if own.get("url", common.url) != common.url else ()
        kept = {name: getattr(common, name) for name in ChatModelConfig.__struct_fields__ if name not in dropped}
        return ChatModelConfig(**{**kept, **own, "extra": common.extra | own.get("extra", {})})


if TYPE_CHECKING:

    class ChatRoleConfig(_ChatOverrides, frozen=True):
        """What differs for one role from the common chat model."""
else:
    _hints = get_type_hints(ChatModelConfig, include_extras=True)
    _optional = [(name, _hints[name] | None, None) for name in ChatModelConfig.__struct_fields__]
    ChatRoleConfig = msgspec.defstruct(
        "ChatRoleConfig", _optional, bases=(_ChatOverrides,), module=__name__,
        namespace={"__doc__": _ChatOverrides.__doc__}, frozen=True, forbid_unknown_fields=True, kw_only=True,
    )  # fmt: skip


class ChatConfig(ChatModelConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The chat model of all roles, and what differs for some of them."""

    roles: dict[v.RoleName, ChatRoleConfig] = {}
    """Settings that differ for one role, in a table `[chat.roles.NAME]`; what is unset there is as in `[chat]`."""
    record: v.FilePath | None = None
    """File to which every chat request and its answer are appended; unset: nothing is recorded."""
    replay: v.FilePath | None = None
    """Recorded file from which the backend `replay` answers."""

    def of(self, role: str) -> ChatModelConfig:
        """Return the model of one role."""
        return self.roles.get(role, ChatRoleConfig()).over(self)


class ErrorRates(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How often the storyboard's verifier errs on one kind of requirement."""

    miss: v.Share | None = None
    """Probability that a requirement that is not met is judged as met; unset: as for all kinds."""
    false_alarm: v.Share | None = None
    """Probability that a requirement that is met is judged as unmet; unset: as for all kinds."""
    unsure: v.Share | None = None
    """Probability that the verifier is unsure in place of an answer; unset: as for all kinds."""


class VerifierErrorConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How often the storyboard's verifier errs, to compare strategies while the truth stays known; by default never.

    The same question about the same picture always gets the same answer.
    """

    miss: v.Share = 0.0
    """Probability that a requirement that is not met is judged as met."""
    false_alarm: v.Share = 0.0
    """Probability that a requirement that is met is judged as unmet."""
    unsure: v.Share = 0.0
    """Probability that the verifier is unsure in place of an answer."""
    object: ErrorRates | None = None
    """Probabilities that differ for requirements of kind `object`; unset: none."""
    count: ErrorRates | None = None
    """Probabilities that differ for requirements of kind `count`; unset: none."""
    attribute: ErrorRates | None = None
    """Probabilities that differ for requirements of kind `attribute`; unset: none."""
    position: ErrorRates | None = None
    """Probabilities that differ for requirements of kind `position`; unset: none."""
    action: ErrorRates | None = None
    """Probabilities that differ for requirements of kind `action`; unset: none."""
    text: ErrorRates | None = None
    """Probabilities that differ for requirements of kind `text`; unset: none."""
    style: ErrorRates | None = None
    """Probabilities that differ for requirements of kind `style`; unset: none."""
    other: ErrorRates | None = None
    """Probabilities that differ for requirements of kind `other`; unset: none."""

    def rate(self, name: Literal["miss", "false_alarm", "unsure"], kind: RequirementKind) -> float:
        """Return a probability for one kind of requirement."""
        rates: ErrorRates | None = getattr(self, kind)
        own: float | None = None if rates is None else getattr(rates, name)
        common: float = getattr(self, name)
        return common if own is None else own

    def __str__(self) -> str:
        """Return the probabilities that are set, such as `miss 0.3, position miss 0.5`; empty without errors."""
        shown = []
        for name, value in structs.asdict(self).items():
            if isinstance(value, ErrorRates):
                own = structs.asdict(value).items()
                shown += [f"{name} {rate} {share:g}" for rate, share in own if share is not None]
            elif value:
                shown.append(f"{name} {value:g}")
        return ", ".join(shown)


class PlantedInstruction(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An instruction whose effect on the storyboard's pictures is known, to test how skills are learnt."""

    words: v.Phrase
    """Words by which the instruction is recognised in the rules of a skill, whatever their case."""
    kind: RequirementKind
    """Kind of requirement that the instruction has an effect on."""
    factor: v.Factor
    """Factor on the probability that such a requirement is drawn wrong: below 1 the instruction helps, above it
    hurts."""


class StoryboardConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The laboratory of the storyboard: faults for experiments, all off by default."""

    verifier_error: VerifierErrorConfig = VerifierErrorConfig()
    planted: tuple[PlantedInstruction, ...] = ()
    """Instructions with a known effect, tables `[[storyboard.planted]]`, of which learning should find those that help;
    unset: none."""


class Thresholds(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From which probabilities a requirement of one kind is met or unmet."""

    met_from: v.Share
    """Probability from which a requirement counts as met."""
    unmet_below: v.Share
    """Probability below which a requirement counts as unmet."""


class ThresholdsByKind(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Probabilities that differ by kind of requirement, as `gems verify calibrate` finds them."""

    object: Thresholds | None = None
    """Probabilities for requirements of kind `object`; unset: those for all kinds."""
    count: Thresholds | None = None
    """Probabilities for requirements of kind `count`; unset: those for all kinds."""
    attribute: Thresholds | None = None
    """Probabilities for requirements of kind `attribute`; unset: those for all kinds."""
    position: Thresholds | None = None
    """Probabilities for requirements of kind `position`; unset: those for all kinds."""
    action: Thresholds | None = None
    """Probabilities for requirements of kind `action`; unset: those for all kinds."""
    text: Thresholds | None = None
    """Probabilities for requirements of kind `text`; unset: those for all kinds."""
    style: Thresholds | None = None
    """Probabilities for requirements of kind `style`; unset: those for all kinds."""
    other: Thresholds | None = None
    """Probabilities for requirements of kind `other`; unset: those for all kinds."""


class VerifyConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a picture is checked against its requirements."""

    mode: Literal["score", "words", "batch", "evidence"] = "score"
    """How requirements are judged: `score` (one call each, answered by one token and its probability), `words` (one
    call each, answered with a reason), `batch` (one call for all of them), or `evidence` (one call that lists what the
    picture shows, from which code decides, and one for all that it leaves open)."""
    text: Literal["model", "ocr"] = "model"
    """What reads texts: the chat model, or `ocr` (RapidOCR on this host's CPU, extra `ocr`), after which the model is
    asked only where no text is found."""
    votes: Annotated[int, Meta(ge=1, le=15)] = 1
    """Number of answers to a requirement that is voted on; more than half of them decide."""
    vote_on: Literal["unsure", "all"] = "unsure"
    """Requirements that are voted on: those of which the first answer is unsure, or all that the model is asked about,
    because a model that misses a fault is sure."""
    met_from: v.Share = 0.6
    """Probability from which a requirement counts as met."""
    unmet_below: v.Share = 0.4
    """Probability below which a requirement counts as unmet; between the two it is unsure."""
    thresholds: ThresholdsByKind = ThresholdsByKind()
    second_opinion: ChatRoleConfig | None = None
    """Another chat model that is asked where the verifier is unsure, with settings as in `[chat.roles.NAME]`; unset:
    none."""

    def thresholds_of(self, kind: RequirementKind) -> Thresholds:
        """Return the probabilities that hold for a kind of requirement."""
        own: Thresholds | None = getattr(self.thresholds, kind)
        return own or Thresholds(met_from=self.met_from, unmet_below=self.unmet_below)
