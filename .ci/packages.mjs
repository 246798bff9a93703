// What install.mjs decides: which packages are missing, and how npm is started. No effects, so that it is
// tested for systems that are not at hand.

import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** The path of a folder above or below a module, whatever characters are in it. */
export function folderOf(url, below = '.', { windows = process.platform === 'win32' } = {}) {
  const system = windows ? path.win32 : path.posix
  return system.join(fileURLToPath(new URL('..', url), { windows }), ...below.split('/'))
}

/** How npm is started: by `npm run` with the same npm, else by its name. */
export function npmCommand({ platform, execPath, npmExecPath }) {
  if (npmExecPath !== undefined && /[\\/]npm-cli\.c?js$/.test(npmExecPath)) {
    return { command: execPath, before: [npmExecPath], shell: false }
  }
  // On Windows npm is a batch file, which only a shell starts. No argument of ours has a space.
  return { command: 'npm', before: [], shell: platform === 'win32' }
}

/**
 * Paths of packages in a lock file that are not there in the same version. Optional packages do not count:
 * most are for other systems. Without `dev`, neither do those that only development needs.
 */
export function missingPackages(wanted, present, { dev }) {
  return Object.entries(wanted)
    .filter(([path, one]) => path !== '' && !one.optional && !one.devOptional)
    .filter(([, one]) => dev || !one.dev)
    .filter(([path, { version }]) => present[path]?.version !== version)
    .map(([path]) => path)
}
