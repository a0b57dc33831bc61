"""Requests that look at queues, components and the gateway as they are."""

from gateway import requests as ask
from gateway.api.desk import Answer, Asked, Desk, found, ok, stranger
from gateway.clock import rfc3339
from gateway.operation import QueueType, Status
from gateway.ports import Reader
from gateway.views import component_view, offline_view, queue_view


async def get_queued_requests(desk: Desk, _: Asked, model: ask.GetQueuedRequests) -> Answer:
    """List what waits and runs, of one component with the state of its queue, or of all."""
    component = desk.known(model.component_id, "component_id") if model.component_id else None

    def look(reader: Reader) -> Answer:
        page = reader.operations(
            component_id=model.component_id,
            queue_type=QueueType(model.queue_type),
            status=Status(model.status_filter) if model.status_filter else None,
            page_size=model.page_size,
            cursor=model.cursor,
        )
        result: Answer = {"requests": [operation.payload() for operation in page.operations]}
        if component is not None:
            accepts = component.accepts_proxy
            result["queue_status"] = queue_view(reader.queue_status(component.component_id))
            result["offline_operation"] = offline_view(
                reader.offline_operation(component.component_id, accepts_proxy=accepts)
            )
        if page.next_cursor is not None:
            result["next_cursor"] = page.next_cursor
        return result

    return ok(await desk.store.read(look))


async def get_request_status(desk: Desk, _: Asked, model: ask.GetRequestStatus) -> Answer:
    """Tell of one operation, its place in the queue and its children."""
    def look(reader: Reader) -> Answer:
        operation = found(reader, model.request_id)
        position = reader.queue_position(operation)
        return {"request": operation.payload(), "queue_position": position, "children": []}

    return ok(await desk.store.read(look))


async def get_presence(desk: Desk, _: Asked, model: ask.GetPresence) -> Answer:
    """Tell who is there."""
    if model.component_id is not None:
        component = desk.registry.get(model.component_id)
        if component is None:
            raise stranger(model.component_id)
        chosen = [component]
    else:
        chosen = list(desk.registry)
    rows = {row.component_id: row for row in await desk.store.read(lambda reader: reader.components())}
    views = [
        component_view(component, desk.roster.sighting(component.component_id), rows.get(component.component_id))
        for component in chosen
    ]
    return ok({"components": views})


async def get_health(desk: Desk, asked: Asked, _: ask.GetHealth) -> Answer:
    """Tell what is well and what is not."""
    load = await desk.store.read(lambda reader: reader.load(asked.now_ms))
    buses, upstream = desk.health.buses(), desk.health.upstream()
    heard = all(bus["state"] == bus["heard"] == "UP" for bus in buses)
    well = heard and upstream.get("connected", True)
    return ok(
        {
            "healthy": well,
            "queue_depth": load.queue_depth,
            "active_operations": desk.drains.active,
            "attempts": desk.drains.counters(),
            "average_wait_ms": load.average_wait_ms,
            "average_processing_ms": load.average_processing_ms,
            "failure_rate": load.failure_rate,
            "buses": buses,
            "upstream": upstream,
            "timestamp": rfc3339(asked.now_ms),
        }
    )
