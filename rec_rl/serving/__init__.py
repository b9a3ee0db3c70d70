"""An exported artefact behind HTTP, on Ray Serve."""
