"""A battery gateway: who is there on CAN, what waits for those who are not, and the backend told of both."""

__version__ = "0.1.0"
