"""Cancellation that others swallow."""

import asyncio


def heed_cancellation() -> None:
    """Stop here if we were told to stop before, and whatever we waited for has kept that from us.

    A TaskGroup whose tasks fail in that very moment reports their failure alone; `asyncio.wait_for` of Python 3.11, by
    which aiomqtt waits, returns a result that has come in that moment.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
