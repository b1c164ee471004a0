"""What command lines share and print: flags, errors, tables, pages, folders."""
