/** The in-memory pair of the test kit. */

export { duplexPair } from '../../src/testing.ts'
