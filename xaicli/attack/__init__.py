"""The attack wing: one engine that follows every sample on its own, and the attacks as short descriptions."""
