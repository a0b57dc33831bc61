"""The request for a drain, and its end."""

from gateway import requests as ask
from gateway.api.desk import Answer, Asked, Desk
from gateway.component import Component
from gateway.errors import Code, Refusal
from gateway.operation import QueueType, Status
from gateway.ports import Reader
from gateway.presence import Presence


async def process_offline_queue(desk: Desk, asked: Asked, model: ask.ProcessOfflineQueue) -> Answer:
    """Work a component's queue off now; answer when that is done, or at once."""
    component = desk.known(model.component_id, "component_id")
    if not asked.actor.may_touch(component):
        raise Refusal(Code.NOT_OWNER, f"{component.component_id} is not yours.")
    await _check_drain(desk, component, proxies=model.process_proxy_queue)
    drain_id = desk.drains.begin(
        component.component_id,
        max_operations=model.max_operations or desk.parameters.max_batch_processing_size,
        process_proxy_queue=model.process_proxy_queue,
        held=not model.wait,
    )
    if not model.wait:
        return await _accepted(desk, asked, component.component_id, drain_id)
    report = await desk.drains.finished(drain_id)
    result = {name: getattr(report, name) for name in report.__slots__}
    return await desk.commit(asked, component.component_id, lambda _: result)


async def _accepted(desk: Desk, asked: Asked, component_id: str, drain_id: str) -> Answer:
    """Answer that a drain will begin, then let it begin: a repeat must find the answer, and start no second one."""
    go = False
    try:
        answer = await desk.commit(asked, component_id, lambda _: {"accepted": True, "drain_id": drain_id})
        go = True
    finally:
        desk.drains.release(drain_id, go=go)
    return answer


async def _check_drain(desk: Desk, component: Component, *, proxies: bool) -> None:
    """Raise Refusal NOTHING_PENDING or COMPONENT_OFFLINE where a drain could do nothing."""

    def waiting(reader: Reader) -> tuple[int, set[str]]:
        page = reader.operations(
            component_id=component.component_id,
            queue_type=QueueType.PROXY,
            status=Status.QUEUED,
            page_size=ask.PAGE_MAX,
            cursor=None,
        )
        status = reader.queue_status(component.component_id)
        own = status.standard_queue_size + status.priority_queue_size
        return own, {operation.carrier for operation in page.operations}

    own, carriers = await desk.store.read(waiting)
    if not own and not (proxies and carriers):
        raise Refusal(Code.NOTHING_PENDING, f"The queue of {component.component_id} is empty.")
    reachable = {component.component_id} | (carriers if proxies else set())
    if not any(desk.roster.sighting(carrier).presence is Presence.ONLINE for carrier in reachable):
        raise Refusal(Code.COMPONENT_OFFLINE, f"{component.component_id} is not online.")
