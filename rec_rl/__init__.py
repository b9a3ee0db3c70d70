"""rec_rl trains recommenders that users are glad of, not only ones they click on."""

__version__ = "0.1.0"
