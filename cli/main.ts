#!/usr/bin/env node
/** The command line: `npx cio …`. */

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

async function main(args: readonly string[]): Promise<number> {
  // Before anything else is loaded.
  if (args[0] === '--version' || args[0] === '-V') {
    process.stdout.write(`${version()}\n`)
    return 0
  }
  const { run } = await import('./commands.ts')
  return run(args)
}

function version(): string {
  // From the sources it is one folder up, from `dist` two.
  const path = createRequire(import.meta.url).resolve('cio/package.json')
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version
}

// A closed output pipe, as with `head`, is not an error.
process.stdout.on('error', () => process.exit(0))
const code = await main(process.argv.slice(2))
// Standard input may still be open.
process.stdout.write('', () => process.exit(code))
