"""`python -m gateway`: the same as `bms-gateway`."""

from gateway.cli import main

if __name__ == "__main__":
    main()
