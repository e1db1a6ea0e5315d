"""`python -m xaicli` is the same as `xaicli`."""

from xaicli.cli.main import main

if __name__ == "__main__":
    main()
