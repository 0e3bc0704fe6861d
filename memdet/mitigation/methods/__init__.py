"""Methods, one file each, named after its paper, found by themselves."""
