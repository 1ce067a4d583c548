"""A page for the browser: ask, drag the number of tokens, and compare the answers of full and pruned."""

from dataclasses import dataclass

from grip_vlm.options import DType

METHODS = "grip,divprune,cdpruner,scope,vispruner,visionzip,cls_attention,tome,fastv,uniform,random"


@dataclass(frozen=True, kw_only=True)
class Command:
    """A page for the browser: ask, drag the number of tokens, and compare the answers of full and pruned."""

    vlms: str = "tiny-llava"
    """Comma-separated VLMs to choose from: shipped ones, checkpoint folders or hub ids. All of them are loaded."""
    pruners: str = METHODS
    """Comma-separated methods to choose from; `name=DIR` gives a trained method its scorer."""
    dtype: DType = "float32"
    """Precision of the VLMs' weights; `auto` takes the checkpoint's own."""
    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` lets other machines in, without a password."""
    port: int = 7860
    queue: int = 32
    """Questions that may wait; those beyond are refused."""
    megabytes: int = 20
    """Largest image file that may be uploaded."""
    seed: int = 0
    """Seed of methods that sample at random."""

    def __post_init__(self) -> None:
        if not 0 < self.port < 2**16:
            raise ValueError(f"port must be from 1 to {2**16 - 1}, got {self.port}")
        if self.queue < 1 or self.megabytes < 1:
            raise ValueError("queue and megabytes must be at least 1")

    def run(self) -> None:
        from grip_vlm.serving import page
        from grip_vlm.serving.choices import load

        choices = load(self.vlms.split(","), self.pruners.split(","), self.dtype, self.seed)
        page.serve(page.build(choices, self.queue), self.host, self.port, self.megabytes)
