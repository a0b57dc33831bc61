"""Models of everything the gateway says: states, events, results. What is published is checked against them in tests.

The gateway itself builds plain maps: these models are for those who read them, and for the schemas in docs/.
"""
