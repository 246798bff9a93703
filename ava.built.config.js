import { availableParallelism } from 'node:os'
import config from './ava.config.js'

/** `npm test`: AVA on what `scripts/build-tests.ts` has built, without tsx. */
export default {
  ...config,
  files: ['build/tests/test/**/*.test.js'],
  extensions: ['js'],
  nodeArguments: ['--no-warnings=ExperimentalWarning'],
  // Many tests wait for a clock or a peer, so two files for each processor keep it busy.
  concurrency: 2 * availableParallelism(),
  environmentVariables: { CIO_BUILT: 'build/tests' },
}
