"""The product and its surroundings as they are: real processes, real engines, real hosts."""
