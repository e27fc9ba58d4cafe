"""Send and receive file trees in tonistiigi/fsutil's packet protocol; the callers do the network I/O."""
