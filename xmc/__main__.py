"""Entry point of the `xmc` command, which listens to signals before it imports what takes long."""

from xmc.endings import AGAIN, one_line, stoppable, undisturbed
from xmc.terminal import open_standard_streams


@stoppable()
def main() -> None:
    open_standard_streams()
    with one_line("", lambda: AGAIN):
        with undisturbed():
            from xmc.cli import main as run

        run()


if __name__ == "__main__":
    main()
