"""Requests that look at queues, components and the gateway as they are."""

from gateway import requests as ask
from gateway.api.desk import Answer, Asked, Desk, found, ok, stranger
from gateway.clock import rfc3339
from gateway.component import Component, DrainMode
from gateway.estimate import estimated_processing
from gateway.operation import FINAL, Operation, QueueType, RequestType, Status
from gateway.ports import ComponentRow, Reader
from gateway.views import component_view, offline_view, queue_view


async def get_queued_requests(desk: Desk, _: Asked, model: ask.GetQueuedRequests) -> Answer:
    """List what waits and runs, of one component with the state of its queue, or of all."""
    component = desk.known(model.component_id, "component_id") if model.component_id else None
    status = Status(model.status_filter) if model.status_filter else None

    def look(reader: Reader) -> Answer:
        page = reader.operations(
            component_id=model.component_id,
            queue_type=QueueType(model.queue_type),
            status=status,
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

    # What has ended is a long list that is sorted as it is read: it keeps none of the other readers waiting.
    return ok(await (desk.store.study(look) if status in FINAL else desk.store.read(look)))


async def get_request_status(desk: Desk, asked: Asked, model: ask.GetRequestStatus) -> Answer:
    """Tell of one operation, its place in the queue, when its turn is likely to come, and its children."""

    def look(reader: Reader) -> tuple[Operation, int | None, list[Operation], ComponentRow | None]:
        operation = found(reader, model.request_id)
        children = reader.children(operation.request_id) if operation.routed else []
        return operation, reader.queue_position(operation), children, reader.component(operation.carrier)

    operation, position, children, row = await desk.store.read(look)
    told: Answer = {
        "request": operation.payload(),
        "queue_position": position,
        "children": [child.payload() for child in children],
    }
    begin = None if position is None else _likely_begin(desk, asked, operation, position, row)
    if begin is not None:
        told["estimated_processing"] = rfc3339(begin)
    return ok(told)


def _likely_begin(
    desk: Desk, asked: Asked, operation: Operation, position: int, row: ComponentRow | None
) -> int | None:
    """Return when an operation that waits is likely to be begun, ms; None: nobody can tell, or it will not be."""
    carrier = desk.registry.get(operation.carrier)
    held_up = operation.blocked or operation.waits_for is not None
    if carrier is None or held_up or _waits_for_somebody(desk, operation, carrier):
        return None
    begin = estimated_processing(
        now_ms=asked.now_ms,
        position=position,
        average_ms=_exchange_ms(desk, operation.carrier),
        not_before=operation.not_before,
        online=desk.is_online(carrier),
        settle_ms=desk.presence(operation.carrier).settle_ms,
        expected_return=None if row is None else row.expected_return,
    )
    return begin if begin is not None and begin < operation.expires_at else None


def _waits_for_somebody(desk: Desk, operation: Operation, carrier: Component) -> bool:
    """Whether an operation is not worked off before somebody asks for it."""
    if operation.request_type is RequestType.PROXY and not desk.parameters.enable_proxy_processing:
        return True
    return carrier.drain_mode is DrainMode.MANUAL and not operation.emergency


def _exchange_ms(desk: Desk, carrier: str) -> float | None:
    """Return what an exchange with a component takes, by its own or, lacking any, by those of all others."""
    own = desk.drains.load(carrier).times.average_ms
    if own is not None:
        return own
    others = [desk.drains.load(component.component_id).times.average_ms for component in desk.registry]
    known = [each for each in others if each is not None]
    return sum(known) / len(known) if known else None


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
    well = heard and upstream.get("connected", True) and not upstream.get("refused")
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
            "control_socket": desk.health.control_socket(),
            "timestamp": rfc3339(asked.now_ms),
            "time_trusted": desk.clock.trusted(),
        }
    )
