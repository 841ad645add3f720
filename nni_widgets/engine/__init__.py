"""The engine: attribution methods on any ``nn.Module``. It knows torch and nothing above it."""
