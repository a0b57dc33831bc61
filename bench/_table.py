"""How every benchmark tells its figures: each beside its peer or limit, with a verdict where it has a budget."""

missed: list[str] = []  # of this run


def row(figure: str, ours: str, beside: str, *, met: bool | None = None) -> None:
    """Print one figure. `beside`: the peer's figure or the limit. `met`: None where there is no budget."""
    verdict = {True: "ok", False: "MISSED", None: ""}[met]
    print(f"{figure:<64} {ours:>14}   {beside:<40} {verdict}".rstrip(), flush=True)
    if met is False:
        missed.append(figure)
