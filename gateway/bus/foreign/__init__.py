"""Components of somebody else's make: heard by their own messages, judged by the same rules as ours.

`compiled` turns what the configuration says into a `Listening`: which frames belong to a component and what each of
them says. `ForeignWatch` is its track; `Ears` finds whoever a frame belongs to.
"""
