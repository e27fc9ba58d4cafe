"""Sending and receiving file trees in tonistiigi/fsutil's packet protocol, without I/O of its own on the wire."""
