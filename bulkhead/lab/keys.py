"""The ssh key that opens the lab's machines: made once per user, of no use anywhere else."""

from pathlib import Path

from bulkhead.lab import paths
from bulkhead.progress import Step


def ensure(step: Step) -> Path:
    """The private key's file, made if need be; its public half lies beside it with `.pub`."""
    key = paths.cache() / "ssh" / "lab"
    public = key.with_suffix(".pub")
    if not (key.exists() and public.exists() and public.read_text().strip()):
        key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        key.unlink(missing_ok=True)
        public.unlink(missing_ok=True)
        # Not ECDSA: Vagrant's Ruby client can't sign with such a key under OpenSSL 3.
        step.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bulkhead lab", "-f", key])
    return key
