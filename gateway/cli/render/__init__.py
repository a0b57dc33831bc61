"""Results as tables for people. Pure: maps as the API spells them and the time now (ms) in, text out."""

from gateway.cli.render.cells import NOTHING as NOTHING
from gateway.cli.render.cells import state as state
from gateway.cli.render.cells import table as table
from gateway.cli.render.cells import text as text
from gateway.cli.render.components import changed as changed
from gateway.cli.render.components import component as component
from gateway.cli.render.components import components as components
from gateway.cli.render.gateway import health as health
from gateway.cli.render.gateway import parameters as parameters
from gateway.cli.render.operations import child_ended as child_ended
from gateway.cli.render.operations import dead_letters as dead_letters
from gateway.cli.render.operations import drained as drained
from gateway.cli.render.operations import history as history
from gateway.cli.render.operations import picked as picked
from gateway.cli.render.operations import plan as plan
from gateway.cli.render.operations import proxy_queue as proxy_queue
from gateway.cli.render.operations import queued as queued
from gateway.cli.render.operations import reason as reason
from gateway.cli.render.operations import request_status as request_status
from gateway.cli.render.operations import requests as requests
from gateway.cli.render.operations import what as what
from gateway.cli.render.records import audit as audit
from gateway.cli.render.records import confirmed as confirmed
from gateway.cli.render.records import metrics as metrics
from gateway.cli.render.records import replayed as replayed
from gateway.cli.render.records import verified as verified
