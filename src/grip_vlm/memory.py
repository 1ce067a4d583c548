"""What counts as running out of memory, for code that does not import torch."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device or the main memory has no room left."""
    message = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, which is a RuntimeError
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in message)
        or (isinstance(error, RuntimeError) and "out of memory" in message)
    )
