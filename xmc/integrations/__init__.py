"""xmc as a part of other tools, each in a module that needs the tool."""
