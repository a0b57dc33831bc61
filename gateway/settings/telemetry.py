"""Which signals of which components are told upstream: section [telemetry]."""

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from gateway.ids import NAME_PATTERN
from gateway.settings.base import FROZEN


class SignalSection(BaseModel):
    """One signal. `signal`: its name in a database of messages, alone or as Message.Signal; `deadband` in its unit."""

    model_config = FROZEN

    component: Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
    signal: Annotated[str, StringConstraints(min_length=1, max_length=257)]
    deadband: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    min_interval_s: Annotated[float, Field(ge=0.1, le=86_400)] = 1.0


class TelemetrySection(BaseModel):
    """Whether telemetry is told, and of what."""

    model_config = FROZEN

    enabled: bool = False
    signals: Annotated[list[SignalSection], Field(max_length=10_000)] = []
