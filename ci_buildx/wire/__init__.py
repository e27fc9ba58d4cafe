"""Codecs that know nothing of the product: bytes in, bytes out, no I/O."""
