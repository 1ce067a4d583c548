"""A scorer with a calibration: its weights are random, its promises are written as if they had been found."""

import torch
from toolkit.training import fresh_scorer

from grip_vlm import calibration, checkpoint
from grip_vlm.calibration import Calibration, Promise
from grip_vlm.sufficiency import Curve, Head

PROMISES = (Promise(0.02, 0.95, 0.01, "learn_then_test", 0.011, 0.05),)


def scorer(vlm, folder, promises=PROMISES):
    """The folder, with a scorer that fits the VLM and a head whose curves differ much between questions."""
    provenance = checkpoint.Provenance(vlm.name, vlm.fingerprint(), "scenes", "warmup", 0, 0.0, 0)
    checkpoint.save(folder, fresh_scorer(vlm), provenance)
    torch.manual_seed(1)
    head = Head(16)
    with torch.no_grad():
        head.inner.weight.mul_(20)
    notes = Calibration(
        checkpoint.digest(folder), "", vlm.name, vlm.fingerprint(), "scenes", "dev", "0" * 16, 9, 9, 9, False, 5, []
    )
    reference = Curve(torch.linspace(-4, 4, 50).double(), torch.ones(50).double())
    calibration.write(folder, head, reference, notes.with_promises(promises))
    return folder
