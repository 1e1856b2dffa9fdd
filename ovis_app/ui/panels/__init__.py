"""The parts of the page, one small file each: components only, no events and no logic."""
