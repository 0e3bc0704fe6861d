"""How exact scores and Jacobian products are: `memdet bench numerics`."""
