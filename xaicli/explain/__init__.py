"""The explain wing: attribution methods as pure functions of queries that the planner asks once."""
