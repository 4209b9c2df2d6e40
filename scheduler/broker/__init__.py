"""The broker side: what is declared, how messages come in and go out."""
