"""The evaluate wing: metrics as pure functions of responses that the planner asks for once."""
