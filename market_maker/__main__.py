"""`python -m market_maker`: the same as the `market-maker` command."""

from market_maker.cli.app import main

if __name__ == "__main__":
    main()
