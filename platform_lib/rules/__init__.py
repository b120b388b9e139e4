"""Pure decisions: no client, no process, no clock; data in, verdict out."""
