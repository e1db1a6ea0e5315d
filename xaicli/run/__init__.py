"""One run of work: jobs, rows, blocks, model calls, random streams, devices and progress."""
