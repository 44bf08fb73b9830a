"""The commands of the command line, a file for each kind. `fastbp.cli` puts them together."""
