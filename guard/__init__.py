"""What stands before the listeners of the mesh's own programs; it knows none of them."""
