"""From a continuous action to the items that are nearest to it."""
