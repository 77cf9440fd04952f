"""Fine-tuning a network with its quantizers in it, so that its int8 half at the edge is nearer to the whole in fp32."""
