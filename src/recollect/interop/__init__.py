"""Other people's formats and libraries: conversions to and from them, each in its own file."""
