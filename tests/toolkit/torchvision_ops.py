"""Lets the registry's torchvision be imported beside a CPU build of torch, where its compiled operators do not load.

Copied into the site-packages of `.vllm` by `make test-vllm`, with a `.pth` file that imports it when Python starts:
vLLM starts processes of its own. Nothing is imported before somebody imports torchvision.
"""

import sys


class Declare:
    """A finder that finds nothing. It declares the two operators that torchvision looks up when it is imported."""

    def find_spec(self, name, path=None, target=None):
        if name != "torchvision":
            return
        sys.meta_path.remove(self)
        import torch

        if torch.version.cuda is None:
            self.library = torch.library.Library("torchvision", "DEF")  # they live as long as it
            for operator in ("nms", "qnms"):
                self.library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


finder = Declare()
sys.meta_path.insert(0, finder)
