"""What the tests and the benchmarks make: fabricated surveys, toy stores, servers, whole runs."""
