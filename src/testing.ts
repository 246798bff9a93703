/** `cio/testing`: tools to test applications and middleware, with any test runner. */

export { duplexPair, type DuplexEnd } from './testing/duplex-pair.ts'
export { fragment, type FragmentOptions } from './testing/fragment.ts'
export {
  testApp,
  type TestApp,
  type TestAppOptions,
  type TestConnection,
} from './testing/test-app.ts'
export { chaos, type ChaosOptions } from './testing/chaos.ts'
export {
  testCertificates,
  type TestCertificates,
  type TestClientIdentity,
  type TestIdentity,
} from './testing/test-certificates.ts'
export { conforms, type Conformance, type Conforming } from './testing/conforms.ts'
export type { ConformsOptions } from './testing/conforms-options.ts'
export {
  replay,
  type Replayed,
  type ReplayDifference,
  type ReplayOptions,
} from './testing/replay.ts'
export type { End } from './testing/scenario.ts'
export type { MiddlewarePromise } from './testing/instrument.ts'
