"""The temperature of a policy, steered so that the subsets of a group neither coincide nor have nothing in common."""


def steer(log_temperature: float, spread: float, low: float, high: float) -> float:
    """log tau after one step: a twentieth up or down if the exploration `spread` is not in [low, high]."""
    if spread < low:
        return min(log_temperature + 0.05, 5.0)
    if spread > high:
        return max(log_temperature - 0.05, -5.0)
    return log_temperature
