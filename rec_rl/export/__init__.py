"""From a run to an artefact that needs neither torch nor ray: ONNX graphs, items, schema, model card."""
