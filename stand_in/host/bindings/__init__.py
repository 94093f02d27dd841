"""The bindings of the stand-in: one module each, and `call_inputs` to gather what a call needs from them."""
