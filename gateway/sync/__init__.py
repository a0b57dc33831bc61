"""The outside: MQTT and the local control socket, each a way to the same requests."""
