"""Requests that change the gateway itself: parameters, the registry, what is held for true."""

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.requests.base import Model, Name, Text, Time


class GetParams(Model):
    """Read the parameters in force."""


class SetParams(Model):
    """Change parameters from now on, and for every later start."""

    params: Annotated[dict[str, Any], Field(min_length=1)]


class MarkOffline(Model):
    """Hold a component for OFFLINE until there is evidence to the contrary."""

    component_id: Name
    reason: Text = ""
    expected_return: Time | None = None


class MarkOnline(Model):
    """Hold a component for ONLINE until there is evidence to the contrary."""

    component_id: Name
    reason: Text = ""


class AdoptComponent(Model):
    """Take a discovered node into the registry, under a name and an owner of ours."""

    component_id: Name
    bus: Name
    node: Annotated[int, Field(ge=0, le=249)]
    kind: Literal["PACK", "MODULE", "OTHER"]
    owner: Name
    parent: Name | None = None


class ConfirmClock(Model):
    """Say that the gateway's wall time is right as it is, after it has jumped."""
