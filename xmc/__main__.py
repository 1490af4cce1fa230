from xmc.cli import main

main()
