"""The composition root: every long-lived object is made here. New here? Read this file first."""
