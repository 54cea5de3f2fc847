// The body of setGCPercent is the runtime's.
