"""How fast the machine is put to use: `spineseg bench`, its tables and what they hold."""
