"""CAN: who is heard, and what is said to whom."""
