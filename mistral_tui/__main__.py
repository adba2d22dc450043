"""`python -m mistral_tui` is `mistral-tui`."""

from mistral_tui.cli import main

if __name__ == "__main__":
    main()
