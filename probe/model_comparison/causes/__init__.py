"""Why a segment of the second model gives something else."""
