import { availableParallelism } from 'node:os'
import { _testOnlyReplaceWorkerPath as replaceWorker } from './node_modules/ava/lib/fork.js'
import config from './ava.config.js'

// AVA has no option for it. Its own 390 files took a third of the processor time of a short test.
replaceWorker(new URL('build/tests/ava/worker.js', import.meta.url))

const longest =
  /\b(wires|certs-live|lifecycle\/lifecycle|websocket\/\w+|testing\/conforms)\.test\.js$/

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
