"""Scenarios: which devices are simulated and what trouble they make when. TOML in, plans out."""

import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, ValidationError, model_validator

from gateway.bus.exchange.protocol import CmdStatus, PairOp
from gateway.bus.simulator.plan import NodePlan, Ward
from gateway.bus.simulator.trouble import Override
from gateway.component import Component, ComponentKind
from gateway.errors import ConfigError
from gateway.settings import Milliseconds, Name, Section, Serial, Settings, toml_source

MADE_UP_SERIAL: Final = 0x5349_4D00_0000_0000  # "SIM": for devices whose serial number nothing tells


class Do(StrEnum):
    """What a device may be made to do."""

    SILENT = "silent"
    RETURN = "return"
    RESTART = "restart"
    SLEEP = "sleep"
    STICK_COUNTER = "stick_counter"
    BREAK_CRC = "break_crc"
    JUMP_COUNTER = "jump_counter"
    BABBLE = "babble"
    REPLACE = "replace"
    MUTE_ANSWERS = "mute_answers"
    LATE_ANSWERS = "late_answers"
    DOUBLE_ANSWERS = "double_answers"
    WRONG_ANSWERS = "wrong_answers"
    REFUSE_ANSWERS = "refuse_answers"
    NORMAL_ANSWERS = "normal_answers"  # none of the four above, and no `answer`
    FAULT = "fault"
    CLEAR = "clear"  # stop making trouble


class BusDo(StrEnum):
    """What a participant can do to a bus: take all its devices off, put them on again."""

    OFF = "off"
    ON = "on"


NOT_A_PARTICIPANTS: Final = frozenset({"gone", "back", "overflow"})  # they happen to an interface, not on a bus


class AnswerSection(Section):
    """An answer given instead of doing what is asked.

    `op`: a step of the pairing by name (with a PairStatus), or an opcode (with a CmdStatus and a result code).
    """

    op: str | Annotated[int, Field(ge=0, le=255)]
    status: Annotated[int, Field(ge=0, le=255)]
    result_code: Annotated[int, Field(ge=0, le=255)] = 0
    times: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if isinstance(self.op, str) and self.op not in PairOp.__members__:
            raise ValueError(f"op {self.op!r} is none of {', '.join(PairOp.__members__)}, nor an opcode")
        if isinstance(self.op, int) and self.status not in set(CmdStatus):
            raise ValueError(f"status {self.status} is no status of a command")
        return self

    def override(self) -> Override:
        """Return it as a node takes it."""
        command = isinstance(self.op, int)
        operation = self.op if isinstance(self.op, int) else int(PairOp[self.op])
        return Override(operation, self.status, command, self.result_code, self.times)


class StepSection(Section):
    """One piece of trouble, `at` seconds after the start: of a component (`do` or `answer`) or a bus (`do`)."""

    at: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    component: Name | None = None
    bus: Name | None = None
    do: str | None = None
    answer: AnswerSection | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.component is None) == (self.bus is None):
            raise ValueError("a step names a component or a bus")
        if (self.do is None) == (self.answer is None):
            raise ValueError("a step says what to do, or which answer to give")
        if self.bus is not None and self.do in NOT_A_PARTICIPANTS:
            raise ValueError(f"{self.do!r} cannot be done by a participant of the bus: only its interface can")
        known = {str(each) for each in (Do if self.bus is None else BusDo)}
        if self.do not in known | {None} or (self.bus is not None and self.answer is not None):
            raise ValueError(f"do is one of {', '.join(sorted(known))}")
        return self


class NodeSection(Section):
    """One device. What is left out comes from the component's configuration."""

    component: Name
    bus: Name | None = None
    address: Annotated[int, Field(ge=0, le=249)] | None = None
    kind: ComponentKind | None = None
    serial: Serial | None = None
    period_ms: Milliseconds | None = None
    paired_with: Annotated[int, Field(ge=0, le=255)] | None = None
    contactor: Annotated[int, Field(ge=0, le=7)] = 0


class ScenarioFile(Section):
    """The whole file. No node: every configured component is simulated, of those that speak our protocol."""

    node: tuple[NodeSection, ...] = ()
    step: tuple[StepSection, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One piece of trouble at its time. `subject`: a component_id, or the name of a bus."""

    at: float
    subject: str
    action: "Do | BusDo | Override"


@dataclass(frozen=True, slots=True)
class Scenario:
    """Devices of any number of buses, and their trouble in order of time."""

    nodes: tuple[NodePlan, ...]
    steps: tuple[Step, ...] = ()

    def on(self, bus: str) -> "Scenario":
        """Return the part of it that happens on one bus."""
        nodes = tuple(node for node in self.nodes if node.bus == bus)
        here = {bus, *(node.component_id for node in nodes)}
        return Scenario(nodes, tuple(step for step in self.steps if step.subject in here))


def load_scenario(path: Path | None, settings: Settings) -> Scenario:
    """Read a scenario; None: every configured component, behaving well.

    Raises ConfigError with every problem found, each with its place.
    """
    file = ScenarioFile() if path is None else _read(path)
    place = str(path or "scenario")
    configured = {each.component_id: each for each in settings.components() if not each.foreign}
    periods_ms = {each.id: each.presence(settings.presence).period_ms for each in settings.component}
    sections = file.node or [NodeSection(component=component_id) for component_id in configured]
    problems: list[str] = []
    plans = [_plan(section, configured.get(section.component), periods_ms, place, problems) for section in sections]
    nodes = tuple(_with_wards(plan, configured, plans) for plan in plans if plan is not None)
    steps = tuple(sorted((_step(section) for section in file.step), key=lambda step: step.at))
    places = Counter((node.bus, node.address) for node in nodes)
    problems += [f"{place}: node 0x{at:02X} of {bus} is simulated twice" for (bus, at), n in places.items() if n > 1]
    buses = {bus.name for bus in settings.bus}
    known = buses | {node.component_id for node in nodes}
    problems += [
        f"{place}: step: nothing called {step.subject} is simulated" for step in steps if step.subject not in known
    ]
    if problems:
        raise ConfigError(problems)
    return Scenario(nodes, steps)


def _read(path: Path) -> ScenarioFile:
    try:
        return ScenarioFile.model_validate(toml_source.parse(path))
    except ValidationError as why:
        raise toml_source.misfit(path, why, ScenarioFile) from why


def _plan(
    section: NodeSection,
    component: Component | None,
    periods_ms: Mapping[str, int | None],
    place: str,
    problems: list[str],
) -> NodePlan | None:
    bus = section.bus or (component.bus if component else None)
    kind = section.kind or (component.kind if component else None)
    address = section.address if section.address is not None else (component.node if component else None)
    if bus is None or kind is None or address is None:
        problems.append(f"{place}: node {section.component}: not configured, so it needs bus, address and kind here")
        return None
    period_ms = section.period_ms or periods_ms.get(section.component)
    return NodePlan(
        component_id=section.component,
        bus=bus,
        address=address,
        kind=kind,
        serial=section.serial or (component.serial if component else None) or _made_up_serial(section.component),
        key=component.key if component else None,
        period_s=None if period_ms is None else period_ms / 1000,
        partner=section.paired_with,
        contactor=section.contactor,
    )


def _made_up_serial(component_id: str) -> int:
    return MADE_UP_SERIAL | zlib.crc32(component_id.encode())


def _with_wards(plan: NodePlan, configured: Mapping[str, Component], plans: list[NodePlan | None]) -> NodePlan:
    """Return `plan` with the components it is authorised to act for."""
    wards = [
        Ward(other.serial, other.key)
        for other in plans
        if other is not None
        and other.component_id in configured
        and plan.component_id in configured[other.component_id].proxies
    ]
    return replace(plan, wards=tuple(wards))


def _step(section: StepSection) -> Step:
    if section.bus is not None:
        return Step(section.at, section.bus, BusDo(section.do or ""))
    action = Do(section.do or "") if section.answer is None else section.answer.override()
    return Step(section.at, section.component or "", action)
