"""Floor 6: objectives: functions that compose losses."""
