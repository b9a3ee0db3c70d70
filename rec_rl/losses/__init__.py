"""Losses as pure torch functions: no state, no Ray."""
