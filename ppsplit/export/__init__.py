"""From a network to a bundle: freeze, cut, quantize, convert, certify, write. One file a step."""
