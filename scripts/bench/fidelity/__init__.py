"""How faithful values are: the data, models, runs and tables behind docs/fidelity.md."""
