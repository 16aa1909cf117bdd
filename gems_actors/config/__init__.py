"""All settings of a mesh, read once at start-up into frozen records and passed down; nothing here opens or starts.

Later sources win: installed packages, the file, the environment (`GEMS__ROLES__VERIFIER__COUNT=4`), flags
(`--set roles.verifier.count=4`). An unknown key or an impossible value is an error that names its source, the key, what
was expected and what was found.
"""

# fmt: off
# isort: off

from gems_actors.config.loading import (
    load_code as load_code, load_config as load_config, with_installed_roles as with_installed_roles,
)
from gems_actors.config.models import (
    ChatConfig as ChatConfig, ChatModelConfig as ChatModelConfig, ChatRoleConfig as ChatRoleConfig,
    ChatServerConfig as ChatServerConfig, ImageConfig as ImageConfig, ModelServerConfig as ModelServerConfig,
    PlantedInstruction as PlantedInstruction, Prices as Prices, StoryboardConfig as StoryboardConfig,
    VerifierErrorConfig as VerifierErrorConfig,
    VerifyConfig as VerifyConfig,
)
from gems_actors.config.schema import (
    NO_KEYS as NO_KEYS, GatewayConfig as GatewayConfig, LogConfig as LogConfig, LoopConfig as LoopConfig,
    MemoryConfig as MemoryConfig, MeshConfig as MeshConfig, MetricsConfig as MetricsConfig, RoleConfig as RoleConfig,
    RouterConfig as RouterConfig, S3Config as S3Config, SecurityConfig as SecurityConfig, SkillsConfig as SkillsConfig,
    SlurmGroupConfig as SlurmGroupConfig, SlurmHeadConfig as SlurmHeadConfig, SupervisorConfig as SupervisorConfig,
    TracesConfig as TracesConfig, user_runtime_path as user_runtime_path, user_state_path as user_state_path,
)
from gems_actors.config.values import MESH_BLOBS as MESH_BLOBS
