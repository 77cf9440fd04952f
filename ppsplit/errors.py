"""Every error a user can meet.

PPSplitError
├── ConfigError               a config file or a command-line value is wrong
├── DataError                 annotations or an image folder cannot be used
│   └── ImageError            one file is not a readable image
├── WeightsError              a weight file does not fit the network or is damaged
│   └── UnsafePickleError     a checkpoint asks for something to be executed
├── DownloadError             a named file could not be fetched or unpacked, or its hash is wrong
├── ProgramError              a frozen program cannot be read or used
│   ├── CutError              there is no such cut, or the program cannot be cut there
│   └── OnnxError             an ONNX file cannot be read, or not be made a program
├── TrainingError             training cannot go on
├── ExportError               a step from frozen program to bundle failed
│   ├── ConversionError       Paddle Lite cannot take the program for this target
│   ├── CertificationError    the two halves do not compute what the whole computes
│   └── QuantizationError     values cannot be quantized as asked, or no plan fits the memory
│       └── CalibrationError  calibration data is missing, empty, constant or of the wrong size
├── BundleError               a bundle is missing, damaged, or of another version
├── InferenceRuntimeError     an inference runtime is missing or refused its input
├── CodecError                bytes and tensors do not fit together
├── WireError                 bytes are not a message of this protocol
│   └── OptionsError          a wish for decoding is out of range; a ConfigError too, where a user has it
└── LinkError                 the other half could not be reached in time
    └── ServerRejectedError   it was reached, and said no

Each message says what was wrong, what was expected and what to do. The command line prints it in one
line and exits with code 1; `--debug` shows the traceback.
"""

from __future__ import annotations


class PPSplitError(Exception):
    """Base of all errors this package raises on purpose."""


class ConfigError(PPSplitError):
    """A config file or a command-line value is wrong."""


class DataError(PPSplitError):
    """Annotations or an image folder cannot be used."""


class ImageError(DataError):
    """One file is not a readable image."""


class WeightsError(PPSplitError):
    """A weight file does not fit the network or is damaged."""


class UnsafePickleError(WeightsError):
    """A checkpoint asks for something to be executed; nothing was."""


class DownloadError(PPSplitError):
    """A named file could not be fetched or unpacked, or its hash is wrong."""


class ProgramError(PPSplitError):
    """A frozen program cannot be read or used."""


class CutError(ProgramError):
    """There is no such cut, or the program cannot be cut there."""


class OnnxError(ProgramError):
    """An ONNX file cannot be read, or an operator in it cannot be taken."""


class TrainingError(PPSplitError):
    """Training cannot go on: the loss is not finite, or the saved state is damaged or of another training."""


class ExportError(PPSplitError):
    """A step from frozen program to bundle failed."""


class ConversionError(ExportError):
    """Paddle Lite cannot take the program for this target."""


class CertificationError(ExportError):
    """The two halves do not compute what the whole computes."""


class QuantizationError(ExportError):
    """Values cannot be quantized as asked, or no plan of bits fits the memory."""


class CalibrationError(QuantizationError):
    """Calibration data is missing, empty, constant, not finite or of the wrong size."""


class BundleError(PPSplitError):
    """A bundle is missing, damaged, or of another format version."""


class InferenceRuntimeError(PPSplitError):
    """An inference runtime is missing, or refused its program or input."""


class CodecError(PPSplitError):
    """Bytes and tensors do not fit together."""


class WireError(PPSplitError):
    """Bytes are not a message of this protocol."""


class OptionsError(ConfigError, WireError):
    """A wish for decoding is unknown or out of range, whether a frame or a user has it."""


class LinkError(PPSplitError):
    """The other half could not be reached, or did not answer in time.

    Attributes:
        reason: what happened, in one word for machines; docs/edge.md lists them.
    """

    def __init__(self, message: str, reason: str = "unreachable") -> None:
        super().__init__(message)
        self.reason = reason


class ServerRejectedError(LinkError):
    """The server was reached and refused the request.

    Attributes:
        status: HTTP status code.
        code: the machine-readable reason from the JSON body, "" where there was none.
        wait_s: seconds that the server wants to be left alone, 0 where it does not say.
    """

    def __init__(self, message: str, status: int, code: str = "", wait_s: float = 0.0) -> None:
        super().__init__(message, code or f"http_{status}")
        self.status, self.code, self.wait_s = status, code, wait_s
