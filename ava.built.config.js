import { availableParallelism } from 'node:os'
import config from './ava.config.js'

const longest = /\b(certs-live|lifecycle\/lifecycle|websocket\/\w+|testing\/conforms)\.test\.js$/

/** `npm test`: AVA on what `scripts/build-tests.ts` has built, without tsx. */
export default {
  ...config,
  files: ['build/tests/test/**/*.test.js'],
  extensions: ['js'],
  nodeArguments: ['--no-warnings=ExperimentalWarning'],
  // These compute or wait for some ten seconds. Started last, they would let the processors idle.
  sortTestFiles: (a, b) => Number(longest.test(b)) - Number(longest.test(a)) || (a < b ? -1 : 1),
  // Many tests wait for a clock or a peer, so two files for each processor keep it busy.
  concurrency: 2 * availableParallelism(),
  environmentVariables: { CIO_BUILT: 'build/tests' },
}
