"""What a maintainer runs: setup, build, long trainings, bundled data."""
