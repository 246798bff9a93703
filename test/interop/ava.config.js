export default {
  files: ['*.test.ts'],
  extensions: { ts: 'module' },
  nodeArguments: ['--import=tsx', '--no-warnings=ExperimentalWarning'],
  workerThreads: false,
  timeout: '60s',
}
