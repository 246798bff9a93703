#!/usr/bin/env node
/** The command line: `npx cio …`. */

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { certs } from './certs.ts'
import { type Command, UsageError, meant, table } from './command.ts'
import { connect } from './connect.ts'
import { exitCodes, tellFailure } from './failure.ts'
import { inspect } from './inspect.ts'
import { listen } from './listen.ts'
import { paint } from './terminal.ts'

const commands: readonly Command[] = [inspect, certs, connect, listen]

async function main([first, ...rest]: readonly string[]): Promise<number> {
  if (first === '--version' || first === '-V') return say(`${version()}\n`)
  if (first === '--help' || first === '-h') return say(help())
  if (first === 'help') return main(rest.length > 0 ? [rest[0]!, '--help'] : ['--help'])
  const command = commands.find(({ name }) => name === first)
  if (command) {
    return command.run(rest).catch((error: unknown) => tellFailure(command.name, error))
  }
  const known = commands.map(({ name }) => name)
  const what = first === undefined ? 'which command?' : `there is no command ${first}`
  const instead = first === undefined ? ` One of ${known.join(', ')}` : meant(first, known)
  return tellFailure('', new UsageError(`${what}${instead}`))
}

function help(): string {
  const title = (text: string): string => paint('bold', text, process.stdout)
  return [
    `${title('cio')}: Koa for sockets, at the command line`,
    '',
    `${title('Usage')}: cio <command> [options]`,
    '',
    title('Commands'),
    ...table(commands.map(({ name, says }) => [name, says] as const)),
    '',
    'cio <command> --help says more; cio --version says which Cio this is.',
    '',
  ].join('\n')
}

function version(): string {
  // From the sources it is one folder up, from `dist` two.
  const path = createRequire(import.meta.url).resolve('cio/package.json')
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version
}

function say(text: string): number {
  process.stdout.write(text)
  return exitCodes.fine
}

// A closed output pipe, as with `head`, is not an error.
process.stdout.on('error', () => process.exit(exitCodes.fine))
const code = await main(process.argv.slice(2))
// Standard input may still be open.
process.stdout.write('', () => process.exit(code))
