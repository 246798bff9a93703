/** `cio top` and `cio why`: commands of the package `@cio/watch`. */

import { type Command, UsageError, defineCommand } from './command.ts'
import { find } from './find.ts'
import { paint } from './terminal.ts'

interface Options {
  readonly at: string
  readonly json: boolean
  readonly terminal: object
}

interface WatchCommands {
  readonly top: (options: Options) => Promise<number>
  readonly whyCert: (
    file: string,
    options: Options & { readonly servername: string | undefined },
  ) => Promise<number>
  readonly why: (subject: string, options: Options) => Promise<number>
}

const prose = `It asks a running server that has called \`watch(app).listen()\`: by the path of its socket, or by the
address with the token that the server has printed.`

const json = { type: 'boolean', says: 'prints JSON, for programs' } as const

export const top: Command = defineCommand({
  name: 'top',
  says: 'shows the pipeline and the connections of a running server',
  usage: '<path | address>',
  prose,
  options: { json },
  examples: ['cio top /run/app/admin.sock', 'cio top --json /run/app/admin.sock | jq .snapshot'],
  async run([at, ...others], { json = false }) {
    if (!at || others.length > 0) {
      throw new UsageError('it takes one path or address, of the page of the server')
    }
    const commands = await load()
    return commands.top(optionsOf(at, json))
  },
})

export const why: Command = defineCommand({
  name: 'why',
  says: 'explains why a connection of a running server ended, or would be refused',
  usage: '<path | address> <name | address | id | --cert file>',
  prose,
  options: {
    cert: {
      type: 'string',
      value: 'file',
      says: 'asks whether the server would admit this certificate: DER, or PEM with its intermediates',
    },
    servername: {
      type: 'string',
      value: 'name',
      says: 'the host name that the client would ask for (SNI), with --cert',
    },
    json,
  },
  examples: [
    'cio why /run/app/admin.sock device-0042',
    'cio why /run/app/admin.sock 192.0.2.7',
    'cio why /run/app/admin.sock --cert device-0042.crt',
  ],
  async run([at, subject, ...others], { cert, servername, json = false }) {
    const isOne = (subject === undefined) !== (cert === undefined)
    if (!at || !isOne || others.length > 0) {
      throw new UsageError(
        'it takes the path or address of the page of the server, then one name, address or number of a connection, or --cert',
      )
    }
    const commands = await load()
    if (cert !== undefined) return commands.whyCert(cert, { ...optionsOf(at, json), servername })
    return commands.why(subject!, optionsOf(at, json))
  },
})

async function load(): Promise<WatchCommands> {
  const url = find('@cio/watch/cli')
  if (url !== undefined) return (await import(url)) as WatchCommands
  throw new Error(
    `this command comes from @cio/watch, which is not installed here. Until it is published, pack both in a clone of Cio: \`npm pack && npm pack ./packages/watch\`; install both files where the server is, and run \`npx cio\` there`,
  )
}

function optionsOf(at: string, json: boolean): Options {
  const { stdout } = process
  const terminal = {
    output: stdout,
    // A window may change its size, and some terminals report 0. Without a terminal, lines are for
    // programs, so they are not cut.
    get columns() {
      return stdout.columns || (stdout.isTTY ? 80 : Infinity)
    },
    get rows() {
      return stdout.rows || (stdout.isTTY ? 24 : Infinity)
    },
    paint: (style: Parameters<typeof paint>[0], text: string) => paint(style, text, stdout),
  }
  return { at, json, terminal }
}
