"""The main job as a story: a simulated bus, an embedded broker, the real daemon, and a backend that only listens.

`story` knows what must happen and judges what was seen; `stage` sets up broker and daemon; `screen` shows it; `tell`
runs it.
"""

from gateway.cli.demo.tell import main

__all__ = ["main"]
