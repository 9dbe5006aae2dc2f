"""The command behind `scripts/docs`: bring the generated tables up to date."""

from .tables import PAGE, incomplete, render


def main() -> None:
    """Write the tables and name what is left to write by hand."""
    text = render(PAGE.read_text())
    PAGE.write_text(text)
    for row in incomplete(text):
        print(f"docs: {PAGE.name} lacks words for {row}")


if __name__ == "__main__":
    main()
