import config from './ava.config.js'

/** `npm test`: AVA on what `scripts/build-tests.ts` has built, without tsx. */
export default {
  ...config,
  files: ['build/tests/test/**/*.test.js'],
  extensions: ['js'],
  nodeArguments: ['--no-warnings=ExperimentalWarning'],
  environmentVariables: { CIO_BUILT: 'build/tests' },
}
