"""``python -m ancestral.cli`` is ``ancestral``."""

from ancestral.cli.app import main

if __name__ == "__main__":
    main()
