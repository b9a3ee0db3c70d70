"""Custom RLlib algorithms: Config, RLModule and Learner in one file each."""
