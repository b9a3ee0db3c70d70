"""Metrics, estimates and their intervals."""
