"""Files in, validated frozen dataclasses out."""
