// @ts-check
// The titles of the tests that have a column of their own in the table of compatibility; all others are in its last.

export const STREAMS = 'gets each event before the next is made';
export const ABORTS = 'aborts the upstream when it leaves';
export const ERRORS = 'gets an error of the upstream as such';
export const HEARTBEATS = 'is not disturbed by heartbeats';
