"""An OpenAI-compatible server: a front process that speaks HTTP, and a worker process that owns the VLM."""
