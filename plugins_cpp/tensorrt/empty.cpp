// A library that is only its name and what it needs.
