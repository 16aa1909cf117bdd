"""Records the steps of one trajectory in memory, and publishes each step once memory has it."""

from __future__ import annotations

from actors.conducting.steps import Steps
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.errors import RefusedError
from protocol import messages as m
from protocol.costs import add_costs, costs_of


class Recorder:
    """The records of one trajectory, with what they cost and the hooks that took part."""

    def __init__(self, mesh: Mesh, config: MeshConfig, steps: Steps) -> None:
        self._mesh, self._config, self._steps = mesh, config, steps
        self.spent: dict[str, m.Spent] = {}
        """Cost of all recorded steps by role."""
        self.hooks: dict[str, m.Hook] = {}
        """Hooks that took part, by their settings."""
        self._held: list[m.AnyRecord] = []
        """Records that are sent to memory together with the next one."""

    def resume(self, state: m.TrajectoryState) -> None:
        """Continue with the costs and the hooks that memory has."""
        self.spent, self.hooks = dict(state.spent), dict(state.hooks)

    def hold(self, record: m.AnyRecord) -> None:
        """Send a record to memory together with the next one, because nothing depends on it before."""
        self._held.append(record)
        add_costs(self.spent, costs_of(record))

    async def keep(self, record: m.AnyRecord) -> None:
        """Return once memory has a record, and those that were held."""
        self.hold(record)
        await self.keep_held()

    async def keep_held(self) -> None:
        """Return once memory has the records that were held."""
        records, self._held = tuple(self._held), []
        if len(records) > 1:
            await self._steps.ask(m.AppendRecords(records=records))
        elif records:
            await self._steps.ask(m.AppendRecord(record=records[0]))
        for record in records:
            self._mesh.publish(m.StepTaken(record=record))

    def note_hook(self, setting: str, version: str) -> m.Hook:
        """Note that a hook took part, and return it.

        Raises:
            RefusedError: it replied with another version than its role declares, which a picture's key contains.
        """
        role = getattr(self._config.loop, setting)
        declared = self._config.role_specs[role].version
        if version != declared:
            where = f"loop.{setting}: expected {role} to reply with the version that [roles.{role}] declares"
            raise RefusedError(f"{where}, {declared!r}, got {version!r}")
        hook = self.hooks[setting] = m.Hook(role=role, version=version)
        return hook
