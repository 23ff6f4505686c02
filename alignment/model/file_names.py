"""Names of what a published predictor consists of; imports nothing that takes time."""

from typing import Final

HEAD_FILE: Final = "head.safetensors"
ADAPTER_FOLDER: Final = "adapter"

# PEFT's, in the folder of the adapter.
ADAPTER_SETTINGS: Final = "adapter_config.json"
ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
