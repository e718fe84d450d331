"""The command line is in bench/cli."""

from bench.cli import entry

if __name__ == "__main__":
    entry()
