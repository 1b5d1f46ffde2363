"""The lifecycles: which stages a model has and which moves among them are legal. They are rows, read once at start."""

from podium.v1.stages_pb2 import Lifecycle, Stage, Transition

from podium_server.errors import InvalidArgument, TransitionNotAllowed
from podium_server.rows import Reader

DEFAULT = "default"


class Lifecycles:
    """All lifecycles, by name."""

    def __init__(self, reader: Reader) -> None:
        self.messages: list[Lifecycle] = []
        self._stages: dict[tuple[str, str], Stage] = {}
        self._moves: dict[tuple[str, str, str], bool] = {}
        for name, initial, archive in reader.all("SELECT name, initial_stage, archive_stage FROM lifecycle ORDER BY name"):
            self.messages.append(Lifecycle(name=name, initial_stage=initial, archive_stage=archive))
        self._by_name = {message.name: message for message in self.messages}
        for name, stage, servable, warning in reader.all(
            "SELECT lifecycle, name, servable, warning FROM lifecycle_stage ORDER BY lifecycle, place"
        ):
            self._by_name[name].stages.append(Stage(name=stage, servable=bool(servable), warning=warning))
            self._stages[name, stage] = self._by_name[name].stages[-1]
        for name, left, entered, rollback_only in reader.all(
            "SELECT lifecycle, from_stage, to_stage, rollback_only FROM lifecycle_transition "
            "ORDER BY lifecycle, from_stage, to_stage"
        ):
            self._by_name[name].transitions.append(Transition(from_stage=left, to_stage=entered, rollback_only=bool(rollback_only)))
            self._moves[name, left, entered] = bool(rollback_only)

    def get(self, name: str, field: str = "lifecycle") -> Lifecycle:
        """The lifecycle of that name; InvalidArgument if there is none."""
        if name not in self._by_name:
            raise InvalidArgument(f"there is no lifecycle {name[:80]!r}: choose one of {', '.join(self._by_name)}", field=field)
        return self._by_name[name]

    def serving(self, lifecycle: str, stage: str) -> tuple[bool, list[str]]:
        """Whether a version in this stage may serve, and what whoever serves it should know."""
        row = self._stages.get((lifecycle, stage))
        return (True, []) if row is None else (row.servable, [row.warning] if row.warning else [])

    def check_stage(self, lifecycle: str, stage: str, field: str = "stage") -> None:
        """InvalidArgument unless the lifecycle has the stage."""
        if (lifecycle, stage) not in self._stages:
            names = ", ".join(row.name for row in self._by_name[lifecycle].stages)
            raise InvalidArgument(f"lifecycle {lifecycle} has no stage {stage[:80]!r}: it has {names}", field=field)

    def check_start(self, lifecycle: str, stage: str) -> None:
        """TransitionNotAllowed unless a new version may start in the stage: the initial one or one legal move away from it."""
        initial = self._by_name[lifecycle].initial_stage
        if stage != initial:
            self.check_move(lifecycle, initial, stage, rollback=False)

    def check_move(self, lifecycle: str, current: str, stage: str, *, rollback: bool) -> None:
        """TransitionNotAllowed, with the moves that are possible, unless this one is legal."""
        self.check_stage(lifecycle, stage)
        rollback_only = self._moves.get((lifecycle, current, stage))
        if rollback_only is None or (rollback_only and not rollback):
            moves = {to: special for (name, left, to), special in self._moves.items() if (name, left) == (lifecycle, current)}
            possible = sorted(to for to, special in moves.items() if not special)
            as_rollback = sorted(to for to, special in moves.items() if special)
            raise TransitionNotAllowed(
                f"a version in {current or 'no stage'} cannot move to {stage}: possible are {', '.join(possible) or 'none'}"
                + (f", and as a rollback {', '.join(as_rollback)}" if as_rollback else ""),
                current=current, possible=",".join(possible), with_rollback=",".join(as_rollback),
            )  # fmt: skip
