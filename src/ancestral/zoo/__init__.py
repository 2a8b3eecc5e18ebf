"""One paper, one file: each holds a function of the file's name that returns a `Recipe`."""
