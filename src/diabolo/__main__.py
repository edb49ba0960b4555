"""Run the command line: `python -m diabolo` is the same as `diabolo`."""

from .cli.app import main

if __name__ == "__main__":
    main()
