"""Lets the registry's torchvision be imported beside a CPU build of torch, where its compiled operators do not load.

Copied into the site-packages of `.vllm` by `make test-vllm`, with a `.pth` file that imports it at every start of Python:
vLLM starts processes of its own. Nothing is imported before somebody imports torchvision.
"""

import sys


class Declare:
    """A finder that finds nothing. It declares the two operators that torchvision looks up when it is imported."""

    def find_spec(self, name, path=None, target=None):
        if name != "torchvision":
            return None
        sys.meta_path.remove(self)
        import torch

        if torch.version.cuda is None:
            self.library = torch.library.Library("torchvision", "DEF")  # they are gone when it is
            for operator in ("nms", "qnms"):
                self.library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            sys.modules["torchvision_ops"].declared = self
        return None


sys.meta_path.insert(0, Declare())
