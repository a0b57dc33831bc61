"""When an operation that waits will have its turn, as far as the past tells."""


def estimated_processing(
    *,
    now_ms: int,
    position: int,
    average_ms: float | None,
    not_before: int,
    online: bool,
    settle_ms: int,
    expected_return: int | None,
) -> int | None:
    """Return when the processing of an operation is likely to begin, in ms since the epoch; None: nobody can tell.

    Args:
        now_ms: the present; the answer is never before it.
        position: its place among those that wait for its carrier, 1 = next.
        average_ms: what one exchange takes, by those of its carrier or, lacking any, of the gateway.
        not_before: when its next try is due; 0: at once.
        online: whether its carrier is there.
        settle_ms: how long after a return the carrier is left alone.
        expected_return: when a carrier that is away should be back, as far as anybody knows.
    """
    begin = now_ms
    if not online:
        if expected_return is None:
            return None
        begin = max(now_ms, expected_return) + settle_ms
    ahead = position - 1
    if ahead:
        if average_ms is None:
            return None
        begin += round(ahead * average_ms)
    return max(begin, not_before)
