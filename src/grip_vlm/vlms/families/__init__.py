"""One file per family. The file's name is the checkpoint's `model_type`, and its class is `VLM`."""
