"""What the domain needs of the world, as protocols: a store, a roster of who is there, a way to the devices.

`bus`, `queue` and `sync` know each other only by these; `daemon.py` plugs them together.
"""

from gateway.ports.devices import Attempt as Attempt
from gateway.ports.devices import Commands as Commands
from gateway.ports.devices import CommandSpec as CommandSpec
from gateway.ports.devices import Executor as Executor
from gateway.ports.presence import UNSEEN as UNSEEN
from gateway.ports.presence import ComponentRow as ComponentRow
from gateway.ports.presence import Notice as Notice
from gateway.ports.presence import PresenceChange as PresenceChange
from gateway.ports.presence import Roster as Roster
from gateway.ports.presence import Sighting as Sighting
from gateway.ports.presence import Watches as Watches
from gateway.ports.records import AuditCheck as AuditCheck
from gateway.ports.records import AuditEntry as AuditEntry
from gateway.ports.records import AuditRow as AuditRow
from gateway.ports.records import Call as Call
from gateway.ports.records import ExchangeTimes as ExchangeTimes
from gateway.ports.records import Export as Export
from gateway.ports.records import Figures as Figures
from gateway.ports.records import History as History
from gateway.ports.records import Load as Load
from gateway.ports.records import OfflineOperation as OfflineOperation
from gateway.ports.records import OutboxFigures as OutboxFigures
from gateway.ports.records import Page as Page
from gateway.ports.records import QueueStatus as QueueStatus
from gateway.ports.records import Registration as Registration
from gateway.ports.records import Spread as Spread
from gateway.ports.running import ComponentLoad as ComponentLoad
from gateway.ports.running import DrainReport as DrainReport
from gateway.ports.running import Drains as Drains
from gateway.ports.running import Health as Health
from gateway.ports.running import Timekeeper as Timekeeper
from gateway.ports.running import Upstream as Upstream
from gateway.ports.store import Reader as Reader
from gateway.ports.store import Store as Store
from gateway.ports.store import Tx as Tx
