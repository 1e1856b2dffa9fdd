"""How a checkpoint does on this machine: what its files say against what is known of its kind, and what it does when it
is loaded against what was planned. A module a group of checks, each of which gives findings."""
