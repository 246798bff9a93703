// Installs the npm packages of a fresh clone, and does nothing where they are there.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'

process.chdir(new URL('..', import.meta.url).pathname)

if (!isInstalled()) {
  // What is there is kept, in case somebody else is using it.
  const command = existsSync('node_modules') ? 'install' : 'ci'
  const { status } = spawnSync('npm', [command], { stdio: 'inherit' })
  process.exitCode = status ?? 1
}

function isInstalled() {
  if (!existsSync('node_modules/.package-lock.json')) return false
  const wanted = packages('package-lock.json')
  const present = packages('node_modules/.package-lock.json')
  return Object.entries(wanted).every(
    ([path, { version, optional, devOptional }]) =>
      path === '' || optional || devOptional || present[path]?.version === version,
  )
}

function packages(lock) {
  return JSON.parse(readFileSync(lock, 'utf8')).packages
}
