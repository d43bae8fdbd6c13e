"""What serving costs, each back-end beside the library or server that it is made of."""
