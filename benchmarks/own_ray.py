"""Ray for one side alone, whatever other clusters run on the machine."""


def start() -> None:
    """One core, no dashboard."""
    import ray

    if ray.is_initialized():
        return
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
