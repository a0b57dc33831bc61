"""What there is on a bus that nobody has configured yet: learned from its frames, proposed as components.

`Survey` takes the frames, `Databases` say what is known of their ids, `propose` finds the devices among them, and
`configuration` writes them down as the gateway reads them.
"""
