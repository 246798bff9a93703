// node .ci/install.mjs [--production] [folder]...
//
// Installs the npm packages of this clone, and of the folders with a package.json of their own that are
// named. Does nothing where they are there. With --production, the clone itself gets only what an
// application that installs Cio would get.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { folderOf, missingPackages, npmCommand } from './packages.mjs'

const words = process.argv.slice(2)
const dev = !words.includes('--production')

install('.', { dev })
for (const folder of words.filter((word) => word !== '--production')) install(folder, { dev: true })

function install(folder, { dev }) {
  const cwd = folderOf(import.meta.url, folder)
  const wanted = packages(join(cwd, 'package-lock.json'))
  const present = packages(join(cwd, 'node_modules', '.package-lock.json'))
  if (present !== undefined && missingPackages(wanted, present, { dev }).length === 0) return

  // What is there is kept: another process may be using it.
  const fresh = ['ci', ...(dev ? [] : ['--omit=dev'])]
  const words = [...(present === undefined ? fresh : ['install']), '--no-audit', '--no-fund']
  const { npm_execpath: npmExecPath } = process.env
  const { platform, execPath } = process
  const { command, before, shell } = npmCommand({ platform, execPath, npmExecPath })
  const { status, error } = spawnSync(command, [...before, ...words], {
    cwd,
    shell,
    stdio: 'inherit',
  })
  if (error) console.error(error)
  if (status !== 0) process.exit(status ?? 1)
}

function packages(lock) {
  return existsSync(lock) ? JSON.parse(readFileSync(lock, 'utf8')).packages : undefined
}
