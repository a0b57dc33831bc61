"""What frames cost on a real SocketCAN interface: `python -m bench frames` has it told by the throw-away host.

It is no test of the folder's own: it takes long, and its limits are the benchmark's.
"""

import json

from bench import frames as bench


def test_the_figures_are_told(capsys):
    with bench.interface() as channel:
        found = bench.figures(channel)
    with capsys.disabled():
        print(f"\n{bench.FIGURES}{json.dumps(found)}")
    assert min(found.values()) > 0
