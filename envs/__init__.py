"""Gymnasium environments and the worlds whose truth is known."""
