//! Files: safetensors, ONNX and the Squeeze model file, every length checked before use.
