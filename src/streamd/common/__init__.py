"""What every stage uses, and nothing of which knows streamd's stages."""
