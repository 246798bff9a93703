export default {
  files: ['test/**/*.test.ts'],
  extensions: { ts: 'module' },
  nodeArguments: ['--import=tsx', '--no-warnings=ExperimentalWarning'],
  workerThreads: false,
  timeout: '60s',
}
