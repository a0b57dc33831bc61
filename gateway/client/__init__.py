"""The gateway as a Python program at the other end of MQTT sees it."""

from gateway.client.client import GatewayClient as GatewayClient
from gateway.client.errors import NoAnswer as NoAnswer
from gateway.client.events import Events as Events
from gateway.client.gap import Gap as Gap
from gateway.client.gap import GapReason as GapReason
from gateway.client.mirror import ComponentPresence as ComponentPresence
from gateway.errors import Code as Code
from gateway.errors import GatewayError as GatewayError
from gateway.errors import Refusal as Refusal
from gateway.payloads import Event as Event
from gateway.presence import Presence as Presence
from gateway.sync.signing import Signer as Signer
