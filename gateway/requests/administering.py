"""Requests that change the gateway itself: parameters, the registry, what is held for true."""

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.requests.base import Model, Name, Text, Time


class GetParams(Model):
    """Read the parameters in force."""


class SetParams(Model):
    """Change parameters from now on, and for every later start."""

    params: Annotated[dict[str, Any], Field(min_length=1)]
    """At least one parameter with its new value."""


class MarkOffline(Model):
    """Hold a component for OFFLINE until there is evidence to the contrary."""

    component_id: Name
    reason: Text = ""
    """Why; not empty, goes to the log."""
    expected_return: Time | None = None
    """When it should be back; in the future."""


class MarkOnline(Model):
    """Hold a component for ONLINE until there is evidence to the contrary."""

    component_id: Name
    reason: Text = ""
    """Why; not empty, goes to the log."""


class AdoptComponent(Model):
    """Take a discovered node into the registry, under a name and an owner of ours."""

    component_id: Name
    """What it is to be called."""
    bus: Name
    node: Annotated[int, Field(ge=0, le=249)]
    """Its address on the bus."""
    kind: Literal["PACK", "MODULE", "OTHER"]
    owner: Name
    """The actor who may act on it without being granted it."""
    parent: Name | None = None
    """The pack that a module belongs to."""


class ConfirmClock(Model):
    """Say that the gateway's wall time is right as it is, after it has jumped."""
