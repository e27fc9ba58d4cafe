"""Types and values of HCL: numbers, conversion between types, unification of types, JSON."""
