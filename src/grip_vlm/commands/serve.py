"""Serve a VLM over OpenAI's chat completions, each request with its own budget of visual tokens."""

import os
from dataclasses import dataclass

from grip_vlm.serving.server.keys import Keys
from grip_vlm.serving.server.options import ServerOptions


@dataclass(frozen=True, kw_only=True)
class Command(ServerOptions):
    """Serve a VLM over OpenAI's chat completions, each request with its own budget of visual tokens."""

    def run(self) -> None:
        self.check()
        keys = Keys.read(os.environ, self.api_key_file)
        from grip_vlm.serving.server.run import serve

        serve(self, keys)
