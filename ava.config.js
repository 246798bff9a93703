export default {
  files: ['test/**/*.test.ts', '!test/interop/**', 'packages/*/test/**/*.test.ts'],
  extensions: { ts: 'module' },
  nodeArguments: ['--import=tsx', '--no-warnings=ExperimentalWarning'],
  workerThreads: false,
  // Of silence from all tests together. No test sets its own by `t.timeout`: AVA would then overlook
  // for as long that another one hangs, and not look again.
  timeout: '120s',
}
