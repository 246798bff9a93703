/** The commands. Each is imported only when it is named. */

import { type Command, UsageError, meant, table } from './command.ts'
import { exitCodes, tellFailure } from './failure.ts'
import { paint } from './terminal.ts'

const commands: Readonly<Record<string, () => Promise<Command>>> = {
  inspect: async () => (await import('./inspect.ts')).inspect,
  certs: async () => (await import('./certs.ts')).certs,
  connect: async () => (await import('./connect.ts')).connect,
  call: async () => (await import('./call.ts')).call,
  listen: async () => (await import('./listen.ts')).listen,
  replay: async () => (await import('./replay.ts')).replay,
  top: async () => (await import('./watch.ts')).top,
  why: async () => (await import('./watch.ts')).why,
}

/** Runs the command that the arguments name, and returns the exit code. */
export async function run([first, ...rest]: readonly string[]): Promise<number> {
  if (first === '--help' || first === '-h') {
    process.stdout.write(await help())
    return exitCodes.fine
  }
  if (first === 'help') return run(rest.length > 0 ? [rest[0]!, '--help'] : ['--help'])
  const known = Object.keys(commands)
  if (first !== undefined && Object.hasOwn(commands, first)) {
    try {
      const command = await commands[first]!()
      return await command.run(rest)
    } catch (error) {
      return tellFailure(first, error)
    }
  }
  const what = first === undefined ? 'which command?' : `there is no command ${first}`
  const instead = first === undefined ? ` One of ${known.join(', ')}` : meant(first, known)
  return tellFailure('', new UsageError(`${what}${instead}`))
}

async function help(): Promise<string> {
  const all = await Promise.all(Object.values(commands).map((load) => load()))
  const title = (text: string): string => paint('bold', text, process.stdout)
  return [
    `${title('cio')}: Koa for sockets, at the command line`,
    '',
    `${title('Usage')}: cio <command> [options]`,
    '',
    title('Commands'),
    ...table(all.map(({ name, says }) => [name, says] as const)),
    '',
    'cio <command> --help shows more; cio --version prints the version.',
    '',
  ].join('\n')
}
