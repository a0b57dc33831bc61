"""What is learned of replies that a broker answers by hanging up."""

from gateway.errors import LinkDown
from gateway.sync.loss import Cause, LinkLost
from gateway.sync.outsize import BELIEVED_AFTER, BELIEVED_FOR_S, SMALL_BYTES, Outsize

CLOSED = LinkLost(Cause.CLOSED, "gone")
LARGE = 10 * SMALL_BYTES


class Scene:
    def __init__(self) -> None:
        self.now = 0.0
        self.outsize = Outsize(lambda: self.now)

    def lose(self, why: LinkDown = CLOSED, **sizes: int) -> None:
        """Lose one connection with these replies under way."""
        channel = object()
        for key, size in sizes.items():
            self.outsize.sending(channel, key, size)
        for key in sizes:
            self.outsize.lost(channel, key, why)

    def arrive(self, key: str, size: int) -> None:
        self.outsize.sending(self, key, size)
        self.outsize.arrived(key)


def test_only_what_ends_connection_after_connection_is_refused_and_all_that_is_as_large() -> None:
    scene = Scene()
    for _ in range(BELIEVED_AFTER):
        assert not scene.outsize.refuses(LARGE)
        scene.lose(history=LARGE)
    assert scene.outsize.refuses(LARGE)
    assert not scene.outsize.refuses(LARGE - 1)


def test_what_is_believed_is_forgotten_after_a_while() -> None:
    scene = Scene()
    for _ in range(BELIEVED_AFTER):
        scene.lose(history=LARGE)
    scene.now += BELIEVED_FOR_S
    assert not scene.outsize.refuses(LARGE)


def test_of_all_that_was_under_way_only_the_largest_is_to_blame() -> None:
    scene = Scene()
    for _ in range(BELIEVED_AFTER):
        scene.lose(health=SMALL_BYTES + 1, history=LARGE, queue=SMALL_BYTES + 2)
    assert not scene.outsize.refuses(LARGE - 1)
    assert scene.outsize.refuses(LARGE)


def test_a_bad_link_has_nothing_refused() -> None:
    scene = Scene()
    scene.arrive("history", LARGE)
    for _ in range(100):
        scene.lose(history=LARGE)
        scene.lose(LinkLost(Cause.HALF_OPEN, "no pings"), metrics=2 * LARGE)
        scene.lose(LinkDown("gone"), metrics=2 * LARGE)
        scene.lose(health=SMALL_BYTES - 1)
    assert not scene.outsize.refuses(2 * LARGE)


def test_losses_that_are_not_in_a_row_are_none() -> None:
    scene = Scene()
    for _ in range(100):
        scene.lose(history=LARGE)
        scene.lose(metrics=LARGE)
    assert not scene.outsize.refuses(LARGE)


def test_a_loss_of_a_connection_that_has_been_replaced_says_nothing() -> None:
    scene, old = Scene(), object()
    for _ in range(BELIEVED_AFTER):
        scene.outsize.sending(old, "history", LARGE)
        scene.outsize.sending(object(), "health", 1)
        scene.outsize.lost(old, "history", CLOSED)
    assert not scene.outsize.refuses(LARGE)
