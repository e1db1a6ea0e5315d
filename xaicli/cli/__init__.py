"""The front door: Typer only, one file per verb, thin; nothing heavy is imported until a command runs."""
