"""What every detector promises, tried: `memdet validate-detector`."""
