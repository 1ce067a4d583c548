"""Programs that grip-vlm plugs into; nothing else in the package imports them."""
