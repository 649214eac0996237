"""Random bytes against the parsers and the serializer, with h11 as the judge; see README.md."""
