"""What the tests stand on: a real Postgres, real git repositories, a line that fails on demand, the real command."""
