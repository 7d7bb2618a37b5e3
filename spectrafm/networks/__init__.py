"""The network: encoding, tokens, encoder, decoder, heads; saving and loading it."""
