"""Presence of one component, told from its heartbeats. No IO, no clock reads: the time is an argument."""

from enum import StrEnum


class Presence(StrEnum):
    """Whether a component is heard."""

    UNKNOWN = "UNKNOWN"
    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
