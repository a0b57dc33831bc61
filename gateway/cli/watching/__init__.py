"""What `watch` prints, live: the traffic at the broker, and that of a CAN bus."""
