"""What people do with a mask: pictures, tables of levels, and files for other programs."""
