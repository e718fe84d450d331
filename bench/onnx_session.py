"""An ONNX file in onnxruntime, for task models and for preprocessors."""

from typing import Any


def opened(runtime: Any, content: bytes, threads: int, providers: list[str]) -> Any:
    """A session of `runtime`, the module onnxruntime, in so many threads. Raises what that raises.

    The file is taken as it is in memory: what it would take from other files no hash would tell of.
    """
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # errors
    # Threads that wait do not keep a core from those that code.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", "/nonexistent"
    )
    return runtime.InferenceSession(content, options, providers)
