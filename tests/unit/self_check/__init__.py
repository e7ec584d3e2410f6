"""The self-check's program is run for real, on real files, a real nft, a real containerd."""
