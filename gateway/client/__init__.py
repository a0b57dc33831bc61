"""The gateway as a Python program at the other end of MQTT sees it."""
