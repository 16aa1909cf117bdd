"""All settings of a mesh, read once at start-up into frozen records and passed down; nothing here opens or starts.

Later sources win: defaults, installed packages, the file, the environment (`GEMS__ROLES__VERIFIER__COUNT=4`), flags
(`--set roles.verifier.count=4`). An unknown key or an impossible value is an error that names its source, the key, what
was expected and what was found.
"""

from gems_actors.config.loading import ENVIRONMENT_PREFIX, load_config
from gems_actors.config.models import (
    ChatConfig,
    ChatModelConfig,
    ChatRoleConfig,
    ChatServerConfig,
    ImageConfig,
    ModelServerConfig,
    Prices,
    VerifyConfig,
)
from gems_actors.config.schema import (
    NO_KEYS,
    BudgetConfig,
    DrawConfig,
    LogConfig,
    LoopConfig,
    MemoryConfig,
    MeshConfig,
    MetricsConfig,
    RoleConfig,
    RouterConfig,
    S3Config,
    SecurityConfig,
    SkillsConfig,
    SlurmConfig,
    SlurmGroupConfig,
    SlurmHeadConfig,
    SupervisorConfig,
    user_runtime_path,
)
from gems_actors.config.user_code import load_code
from gems_actors.config.values import MESH_BLOBS

__all__ = [
    "ENVIRONMENT_PREFIX",
    "MESH_BLOBS",
    "NO_KEYS",
    "BudgetConfig",
    "ChatConfig",
    "ChatModelConfig",
    "ChatRoleConfig",
    "ChatServerConfig",
    "DrawConfig",
    "ImageConfig",
    "LogConfig",
    "LoopConfig",
    "MemoryConfig",
    "MeshConfig",
    "MetricsConfig",
    "ModelServerConfig",
    "Prices",
    "RoleConfig",
    "RouterConfig",
    "S3Config",
    "SecurityConfig",
    "SkillsConfig",
    "SlurmConfig",
    "SlurmGroupConfig",
    "SlurmHeadConfig",
    "SupervisorConfig",
    "VerifyConfig",
    "load_code",
    "load_config",
    "user_runtime_path",
]
