"""Simulated packs and modules: they behave as real ones do, make trouble when told to, and keep what they were told."""
