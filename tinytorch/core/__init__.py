"""Your exported modules. `tito export` writes the files beside this one."""
