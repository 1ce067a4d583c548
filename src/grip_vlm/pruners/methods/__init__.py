"""One file per method. The file's name is the method's name, and its class is `Pruner`."""
